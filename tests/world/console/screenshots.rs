//! The pictures of the console in the README, from a server with conversations as they could be.

use super::browser::Browser;
use super::{server_of, think};
use crate::common::model::Model;
use crate::common::token::{now, token_with};
use crate::common::{Server, User};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum size of a picture.
const IMAGE_BYTES_MAX: u64 = 150 * 1024;

const QUESTION: &str = "Since Monday the nightly import takes 40 minutes, not 6. Why?";
const REASONING: &str =
    "The data grew, or a plan changed. Without a deployment, statistics of the planner are the first suspect.";
const ANSWER: &str =
    "Look at the **query plan** first: a table that crosses a threshold changes it without any deployment.

```sql
EXPLAIN ANALYZE
SELECT * FROM orders WHERE customer_id = 42;
```

If it says `Seq Scan`, the statistics are stale or the index is missing.";
const SECOND_QUESTION: &str = "It is a Seq Scan. The table has 9 million rows since the migration.";
const SECOND_ANSWER: &str = "That explains it. Two changes help:

1. `CREATE INDEX CONCURRENTLY` on `orders (customer_id)`
2. `ANALYZE orders` after every bulk import";

/// `CONSOLE_SCREENSHOTS` names the directory of the pictures; without it they go below `target/`.
#[test]
fn the_pictures_of_the_readme_can_be_taken() {
    let model = Model::start();
    let server = server_of(&model);
    let mut maya = person(&server, "maya", "Maya Lind");
    let mut tom = person(&server, "tom", "Tom Okafor");
    let images = match std::env::var_os("CONSOLE_SCREENSHOTS") {
        Some(directory) => Path::new(env!("CARGO_MANIFEST_DIR")).join(directory),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("console/images"),
    };
    let conversation = talk(&mut maya, &mut tom, &model);
    let setup = json!({"token": maya.token, "images": images});
    let Some(mut browser) = Browser::start("screenshots.mjs", &server, setup) else { return };
    browser.reaches("the conversation is open");
    maya.post_message(&conversation, SECOND_QUESTION);
    let mut call = model.call();
    call.begin().say(SECOND_ANSWER);
    browser.resume();
    browser.reaches("the pictures are taken");
    call.finish();
    browser.resume();
    browser.ends();
    for name in ["console-light.png", "console-narrow-dark.png"] {
        let size = size(&images.join(name));
        assert!((10_000..IMAGE_BYTES_MAX).contains(&size), "{name}: {size} bytes");
    }
}

/// Creates workspaces and conversations. Returns the one that is shown.
fn talk(maya: &mut User, tom: &mut User, model: &Model) -> String {
    let shop = maya.create_workspace("Web shop");
    for title in ["Release notes for 2.8", "Names for the loyalty programme", "Checkout copy in Danish"] {
        maya.create_conversation(&shop, title, &[]);
    }
    let conversation = maya.create_conversation(&shop, "Slow import of orders", &["tom"]);
    let reading = maya.create_workspace("Reading group");
    for title in ["Designing Data-Intensive Applications", "Questions for Thursday"] {
        maya.create_conversation(&reading, title, &[]);
    }
    let operations = tom.create_workspace("Operations");
    tom.create_conversation(&operations, "On-call handover", &["maya"]);

    maya.post_message(&conversation, QUESTION);
    let mut call = model.call();
    call.begin();
    think(&mut call, REASONING);
    call.say(ANSWER);
    call.finish();
    conversation
}

fn person(server: &Server, id: &str, name: &str) -> User {
    let email = format!("{id}@example.com");
    let token = token_with(json!({"oid": id, "name": name, "email": email, "iat": now(), "exp": now() + 3600}));
    User::with_token(server, id, &token)
}

#[track_caller]
fn size(image: &PathBuf) -> u64 {
    fs::metadata(image).unwrap_or_else(|error| panic!("{}: {error}", image.display())).len()
}
