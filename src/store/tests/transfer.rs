//! Export and import of answers: published after a stream, streaming, and not started.

use super::answers::{begin, finish, open_answered, open_jobs};
use super::support::TempDir;
use super::*;
use crate::domain::answer_job::JobId;
use crate::store::{export, import, verify};

fn exported(path: &Path) -> String {
    let mut out = Vec::new();
    export(&support::database_at(path), &mut out, true, &mut |_| {}).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn answers_of_every_state_are_exported_and_imported() {
    let directory = TempDir::new();
    let (from, to) = (directory.file("from.db"), directory.file("to.db"));
    let mut writer = open_answered(&from);
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = add_conversation(&mut writer, "ann", workspace, &["ben"]);
    let asked = ["first", "second", "third"].map(|text| command("ben", post(ConversationRef::Id(conversation), text)));
    let jobs: Vec<JobId> = writer.commit_batch(&asked, NOW).events.iter().map(|event| JobId(event.number)).collect();
    support::claim_open_jobs(&mut writer);
    writer.commit_batch(&[begin(jobs[0])], NOW);
    // Another event comes first, so that the number of the publication does not follow the number of the answer.
    done(&mut writer, "ann", post(ConversationRef::Default, "elsewhere"));
    support::claim_open_jobs(&mut writer);
    writer.commit_batch(&[finish(jobs[0]), begin(jobs[1])], NOW);
    let before = exported(&from);
    for part in ["\"published\":{\"number\":", "\"status\":\"streaming\"", "\"responder\":\"echo\"", "\"reply_to\":"] {
        assert!(before.contains(part), "{part}:\n{before}");
    }

    let mut reports = 0;
    let imported = import(&support::database_at(&to), &mut before.as_bytes(), NOW.wall, &mut |_| reports += 1).unwrap();
    assert_eq!((imported.counts.lines() + 2, imported.kept), (reports, None));
    let after = exported(&to);
    let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(body(&after), body(&before));
    assert_eq!(verify(&support::database_at(&to), &mut |_| {}).unwrap().findings, Vec::<String>::new());

    let mut copy = open_answered(&to);
    copy.check_invariants();
    assert_ne!(copy.epoch(), writer.epoch());
    assert_eq!(open_jobs(&copy), open_jobs(&writer), "open jobs are imported");
    let messages = |writer: &mut Writer, user: &str| -> Vec<(EventNumber, String)> {
        let events = replay(writer, user);
        let messages =
            events.iter().filter_map(|event| Some((event.number, event.message()?.content.as_str().to_owned())));
        messages.collect()
    };
    for user in ["ann", "ben"] {
        assert_eq!(messages(&mut copy, user), messages(&mut writer, user), "{user}");
    }
    // The imported database is usable: open answers can be finished, and new numbers follow a skipped range.
    let finished = copy.commit_batch(&[finish(jobs[1]), finish(jobs[2])], NOW);
    assert!(finished.results.iter().all(|command_result| command_result.result.is_ok()));
    assert!(finished.events.iter().all(|event| event.number > imported.continues_after));
    copy.check_invariants();
    while maintain(&mut copy, NOW) {
        copy.check_invariants();
    }
}
