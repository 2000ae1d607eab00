//! Administration of users, beyond the tests of the command line.

use super::support::TempDir;
use super::*;
use crate::domain::model::UserStatus;
use crate::domain::token_rules::{Credential, TokenRule};
use crate::store::error::OpenError;
use crate::store::sqlite::files::lock::Lock;
use crate::store::{Account, Admin, AdminError, NewUser, UserSelector, verify};

const DEVELOPMENT: &str = "550e8400-e29b-41d4-a716-446655440000";

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

fn named(text: &str) -> UserSelector {
    UserSelector::Id(id(text))
}

fn admin(path: &Path) -> Admin {
    Admin::open(&support::database_at(path), true).unwrap()
}

fn later(seconds: i64) -> WallTime {
    NOW.wall.plus_seconds(seconds)
}

#[test]
fn verify_goes_on_after_a_check_that_fails() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    done(&mut writer, "ann", post(ConversationRef::Default, "x"));
    writer.execute_batch("DROP TABLE usage_days");
    let findings = verify(&support::database_at(&path), &mut |_| {}).unwrap().findings;
    assert!(!findings.is_empty() && findings.iter().all(|line| line.contains("usage_days")), "{findings:?}");
}

#[test]
fn a_jump_of_the_clock_neither_revives_older_tokens_nor_rejects_new_ones() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut admin = admin(&path);
    let new = NewUser { id: &id("ann"), email: "ann@example.com", name: None };
    admin.add(&new, "first", NOW.wall).unwrap();
    let mut writer = open(&path);
    assert!(writer.token_rules().unwrap().is_empty(), "a first password does not affect tokens");
    let mut login = 0;
    let mut rejected_before = WallTime(i64::MIN);
    let changes = [
        ("second", later(10), later(10)),
        // The clock has gone back: what was rejected stays so.
        ("third", later(5), later(10)),
        // For one commit, the clock was ten days ahead: the journal's clock stays there, and the rule does not follow it.
        ("fourth", later(12), later(12)),
        // The same in the moment of the change, and afterwards.
        ("fifth", later(864_000), later(864_000)),
        ("sixth", later(20), later(864_000)),
    ];
    for (hash, now, expected) in changes {
        if hash == "fourth" {
            writer.commit_batch(&[command("ben", create_workspace())], Now { wall: later(864_000), ..NOW });
        }
        let before = Credential { authenticated_at: Some(later(9_000_000)), generation: Some(login) };
        admin.set_password(&named("ann"), hash, now).unwrap();
        let rules = writer.token_rules().unwrap();
        let Some(TokenRule::Since { at, .. }) = rules.get(&id("ann")) else { panic!() };
        assert_eq!(at, expected, "{hash}");
        assert!(at >= rejected_before, "{hash}");
        rejected_before = at;
        let record = writer.open_reader().unwrap().password_record("ANN@example.com").unwrap().unwrap();
        assert_eq!(record.hash, hash);
        assert!(!rules.accepts(&id("ann"), &before), "{hash}: a token from before the change");
        login = record.token_generation;
        let after = Credential { authenticated_at: Some(WallTime(0)), generation: Some(login) };
        assert!(rules.accepts(&id("ann"), &after), "{hash}: a login after the change, whatever the clock says");
    }
    writer.check_invariants();
}

#[test]
fn a_disabled_user_gets_back_no_older_token() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut admin = admin(&path);
    admin.add(&NewUser { id: &id("ann"), email: "ann@example.com", name: None }, "hash", NOW.wall).unwrap();
    let mut writer = open(&path);
    let accepts = |writer: &mut Writer, seconds, generation| {
        let credential = Credential { authenticated_at: Some(later(seconds)), generation };
        writer.token_rules().unwrap().accepts(&id("ann"), &credential)
    };
    assert!(accepts(&mut writer, 1, Some(0)) && accepts(&mut writer, 1, None));
    admin.disable(&named("ann"), later(5)).unwrap();
    assert!(!accepts(&mut writer, 9, Some(u64::MAX)) && !accepts(&mut writer, 9, None));
    admin.enable(&named("ann")).unwrap();
    assert!(!accepts(&mut writer, 1, Some(0)) && !accepts(&mut writer, 1, None), "from before");
    let generation =
        writer.open_reader().unwrap().password_record("ann@example.com").unwrap().unwrap().token_generation;
    assert!(accepts(&mut writer, 1, Some(generation)) && accepts(&mut writer, 5, None), "from after");
}

#[test]
fn development_enables_its_user_only_if_production_switched_it_off() {
    type AdminCommand = fn(&mut Admin);
    let table: [(&str, AdminCommand, UserStatus); 4] = [
        ("no change", |_| {}, UserStatus::Enabled),
        ("disabled", |admin| drop(admin.disable(&named(DEVELOPMENT), NOW.wall).unwrap()), UserStatus::Disabled),
        ("enabled in production", |admin| drop(admin.enable(&named(DEVELOPMENT)).unwrap()), UserStatus::Enabled),
        ("deleted", |admin| drop(admin.delete(&named(DEVELOPMENT), NOW.wall).unwrap()), UserStatus::Deleted),
    ];
    for (name, apply, expected) in table {
        let directory = TempDir::new();
        let path = directory.file("a.db");
        let mut writer = open(&path);
        writer.set_development_user(Some("hash"), NOW.wall).unwrap();
        writer.set_development_user(None, NOW.wall).unwrap();
        let mut admin = admin(&path);
        let status = |admin: &Admin| admin.find(&named(DEVELOPMENT)).unwrap().status;
        assert_eq!(status(&admin), UserStatus::SwitchedOff, "production switches the user off");
        apply(&mut admin);
        writer.set_development_user(None, NOW.wall).unwrap();
        writer.set_development_user(Some("hash"), NOW.wall).unwrap();
        assert_eq!(status(&admin), expected, "{name}");
        let closed = writer.token_rules().unwrap().get(&id(DEVELOPMENT)).is_some();
        assert_eq!(closed, expected != UserStatus::Enabled, "{name}");
        writer.check_invariants();
    }
}

#[test]
fn an_administrator_waits_for_the_writer() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    done(&mut writer, "ann", create_workspace());
    let mut admin = admin(&path);
    writer.connection.begin().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| admin.disable(&named("ann"), NOW.wall));
        writer.connection.commit().unwrap();
        assert!(waiting.join().unwrap().is_ok());
    });
    assert!(writer.poll_external_writes().is_some());
}

#[test]
fn an_administrator_waits_for_a_process_that_creates_the_database() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let lock = Lock::try_acquire(&path).unwrap().expect("no process holds the lock");
    let database = Database::File(path.clone());
    assert_eq!(Admin::open(&database, true).err(), Some(OpenError::Locked(path.clone())));
    assert!(!path.exists());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Admin::open(&database, true).map(drop));
        open(&path).close();
        drop(lock);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_rejected_change_writes_nothing() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut admin = admin(&path);
    admin.add(&NewUser { id: &id("ann"), email: "ann@example.com", name: Some("Ann") }, "hash", NOW.wall).unwrap();
    let before = admin.users(None, 10).unwrap();
    let new = NewUser { id: &id("ben"), email: "Ann@Example.com", name: None };
    let taken = AdminError::EmailTaken { email: new.email.into(), by: id("ann") };
    assert_eq!(admin.check_new(&new), Err(taken.clone()));
    assert_eq!(admin.add(&new, "hash", NOW.wall), Err(taken));
    assert_eq!(admin.set_password(&named("ben"), "hash", NOW.wall), Err(AdminError::Unknown("ben".into())));
    assert_eq!(admin.users(None, 10).unwrap(), before);
    // The next page begins after the last user.
    admin.disable(&named("ben"), NOW.wall).unwrap();
    let rest: Vec<Account> = admin.users(before.last(), 10).unwrap();
    assert_eq!(rest.iter().map(|user| user.id.as_str()).collect::<Vec<_>>(), ["ben"]);
}
