//! A database on a server, for one run. Triggers in it make the writer's transactions fail, and a proxy loses replies.

use super::proxy::Proxy;
use crate::model::{Fault, Loss};
use crate::postgres::TestServer;
use cortex_core::internals::{Database, InstanceId, StoreConfig, Writer};
use rusqlite::types::Value;
use std::path::Path;
use std::sync::OnceLock;
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};

/// The lock that a writer holds during a transaction.
const TURN_LOCK: i64 = 0x4372_7478_0000_0002;

/// The database with empty tables of which each run gets a copy.
const TEMPLATE: &str = "sim_template";

/// Counters that a rollback does not turn back, because they are sequences: the statements that fit on the disk, the commits that
/// fail, and the sessions that end in a commit.
const FAULTS: &str = "
CREATE SEQUENCE disk_room INCREMENT -1 MINVALUE -9223372036854775807 MAXVALUE 9223372036854775807 START 9223372036854775807;
CREATE FUNCTION use_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('disk_room') <= 0 THEN RAISE 'no space is left' USING ERRCODE = 'disk_full'; END IF;
    RETURN NULL;
END $$;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('CREATE TRIGGER use_disk BEFORE INSERT OR UPDATE ON %I EXECUTE FUNCTION use_disk()', name);
    END LOOP;
END $$;
CREATE SEQUENCE ending_sessions INCREMENT -1 MINVALUE -9223372036854775807 MAXVALUE 9223372036854775807 START 0;
CREATE SEQUENCE failing_commits INCREMENT -1 MINVALUE -9223372036854775807 MAXVALUE 9223372036854775807 START 0;
CREATE FUNCTION fail_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('failing_commits') > 0 THEN RAISE 'the commit fails'; END IF;
    IF nextval('ending_sessions') > 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER fail_commit AFTER UPDATE ON journal_head DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fail_commit();
";

/// A database on a server, which is dropped with the run.
pub struct ServerDatabase {
    name: String,
    /// Between the program and the server.
    proxy: Proxy,
    runtime: Runtime,
    /// A session of its own, which reads the rows independently of the program.
    client: Client,
    /// How often the disk was full.
    full: i64,
}

impl ServerDatabase {
    pub fn new(directory: &Path) -> ServerDatabase {
        static CREATED: OnceLock<()> = OnceLock::new();
        let server = TestServer::shared();
        CREATED.get_or_init(|| {
            server.create_database(TEMPLATE);
            let setting = Database::parse(&server.address(TEMPLATE)).expect("an address");
            Writer::open(&StoreConfig::new(setting)).expect("the tables are created").close();
            server.run(FAULTS, TEMPLATE);
        });
        let name = directory.file_name().and_then(|name| name.to_str()).expect("a name").replace('-', "_");
        server.copy_database(TEMPLATE, &name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connected = runtime.block_on(tokio_postgres::connect(&server.address(&name), NoTls));
        let (client, connection) = connected.expect("the server accepts a session");
        runtime.spawn(connection);
        ServerDatabase { name, proxy: Proxy::start(server.socket()), runtime, client, full: 0 }
    }

    pub fn setting(&self) -> Database {
        let address = format!("postgres://postgres@127.0.0.1:{}/{}", self.proxy.port(), self.name);
        Database::parse(&address).expect("an address")
    }

    pub fn query(&self, query: &str, parameters: &[Value]) -> Vec<tokio_postgres::Row> {
        let parameters: Vec<(Box<dyn ToSql + Sync>, Type)> = parameters
            .iter()
            .map(|value| -> (Box<dyn ToSql + Sync>, Type) {
                match value {
                    Value::Integer(number) => (Box::new(*number), Type::INT8),
                    // Texts of clients are stored as bytes.
                    Value::Text(text) => (Box::new(text.as_bytes().to_vec()), Type::BYTEA),
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().map(|(value, of)| (value.as_ref(), of.clone())).collect();
        let rows = self.runtime.block_on(self.client.query_typed(&query.replace('?', "$"), &parameters));
        rows.unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    /// Leaves a process with a transaction that has the lock and has written.
    pub fn begin_turn(&self, writer: &mut Writer) {
        let lock = format!("SELECT pg_advisory_xact_lock({TURN_LOCK})");
        writer.execute_batch(&format!("BEGIN; {lock}; UPDATE journal_head SET turn = turn + 1, number = number + 1"));
    }

    pub fn expire_instance(&self, InstanceId(id): InstanceId) {
        self.execute(&format!(
            "UPDATE instances SET is_expired = 1 WHERE id = {id};
            UPDATE answer_jobs SET claimed_by = NULL WHERE claimed_by = {id}"
        ));
    }

    /// Executes a statement in a turn of its own.
    pub fn change(&self, statement: &str, parameters: &[Value]) {
        self.execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({TURN_LOCK})"));
        self.query(statement, parameters);
        self.execute("UPDATE journal_head SET turn = turn + 1; COMMIT");
    }

    pub fn begin_fault(&mut self, fault: Fault, writer: &mut Writer) {
        match fault {
            Fault::None => {}
            Fault::Full => {
                // Some of the statements fit.
                self.full += 1;
                self.set("disk_room", self.full % 4 * 8);
            }
            Fault::Busy => {
                self.execute(&format!("SELECT pg_advisory_lock({TURN_LOCK})"));
                writer.execute_batch("SET lock_timeout = 1");
            }
            Fault::Commit(times) => self.set("failing_commits", times.into()),
            Fault::Lost(Loss::BeforeTransaction) => {
                writer.execute_batch("SET application_name = 'lost'");
                self.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'lost'",
                );
            }
            Fault::Lost(Loss::BeforeCommit) => self.set("ending_sessions", 1),
            Fault::Lost(Loss::AfterCommit) => self.proxy.lose_reply(),
        }
    }

    pub fn end_fault(&mut self, fault: Fault, writer: &mut Writer) {
        match fault {
            Fault::None | Fault::Lost(Loss::BeforeTransaction) => {}
            Fault::Full => self.set("disk_room", i64::MAX),
            Fault::Busy => {
                self.execute(&format!("SELECT pg_advisory_unlock({TURN_LOCK})"));
                writer.execute_batch("RESET lock_timeout");
            }
            Fault::Commit(_) => self.set("failing_commits", 0),
            Fault::Lost(Loss::BeforeCommit) => self.set("ending_sessions", 0),
            Fault::Lost(Loss::AfterCommit) => assert!(!self.proxy.is_losing_reply(), "no commit was sent"),
        }
    }

    fn set(&self, sequence: &str, next: i64) {
        self.execute(&format!("SELECT setval('{sequence}', {next}, false)"));
    }

    fn execute(&self, statements: &str) {
        self.runtime.block_on(self.client.batch_execute(statements)).expect("the statements can be executed");
    }
}

impl Drop for ServerDatabase {
    fn drop(&mut self) {
        TestServer::shared().drop_database(&self.name);
    }
}

pub fn number(row: &tokio_postgres::Row, column: usize) -> i64 {
    match *row.columns()[column].type_() {
        Type::BOOL => row.get::<_, bool>(column).into(),
        _ => row.get(column),
    }
}

pub fn text(row: &tokio_postgres::Row, column: usize) -> String {
    String::from_utf8(row.get(column)).expect("a text")
}
