//! A database in memory, which is an unlinked temporary file.

use super::*;
use crate::domain::query::QueryKind;

#[test]
fn a_database_in_memory_works_unlinked_and_leaves_no_file() {
    if !support::is_sqlite() {
        return;
    }
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let directory = writer.connection.path.parent().unwrap().to_path_buf();
    let mut reader = writer.open_reader().unwrap();
    assert!(directory.exists());
    writer.unlink_temporary();
    assert!(!directory.exists());
    assert!(writer.open_reader().is_err());

    let workspace = add_workspace(&mut writer, "ann");
    let conversation = ConversationRef::Id(add_conversation(&mut writer, "ann", workspace, &[]));
    // Enough for several checkpoints.
    for _ in 0..40 {
        done(&mut writer, "ann", post(conversation, &"x".repeat(1_000_000)));
    }
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    let query = Query { reply_to, caller: UserId::new_unchecked("ann"), kind: QueryKind::Alive([127, 0, 0, 1].into()) };
    assert_eq!(execute_on(&mut reader, &query).position, writer.position());
    assert_eq!(replay(&mut writer, "ann").len(), 42);
    writer.check_invariants();
    writer.close();

    let writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let directory = writer.connection.path.parent().unwrap().to_path_buf();
    drop(writer);
    assert!(!directory.exists(), "a dropped writer removes the directory as well");
}
