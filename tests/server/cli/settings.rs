//! `config check`, and unknown names in `.env`.

use super::run;
use crate::common::token::KEY;
use crate::common::{Options, Sandbox, Server};

#[test]
fn every_setting_is_printed_and_secrets_are_hidden() {
    let sandbox =
        Sandbox::new(Options::new().set("RESPONDER_API_KEY", "hidden-hidden").file(".env", "KEEP_ALIVE_SECONDS=7\n"));
    let printed = run(&sandbox, &["config", "check"]).well();
    for line in [
        "ENV=development # environment",
        "KEEP_ALIVE_SECONDS=7 # .env",
        "BODY_TIMEOUT_SECONDS=30 # default",
        "JWT_SECRET_KEY=(set) # environment",
        "RESPONDER_API_KEY=(set) # environment",
        "JWT_ISSUER= # unset",
    ] {
        assert!(printed.lines().any(|other| other == line), "{line} in\n{printed}");
    }
    let (comments, settings): (Vec<&str>, Vec<&str>) = printed.lines().partition(|line| line.starts_with("# "));
    assert_eq!(settings.len(), cortex_core::internals::VARIABLES.len());
    assert!(comments.len() == 1 && comments[0].starts_with("# memory: "), "{comments:?}");
    assert!(!printed.contains(KEY) && !printed.contains("hidden"), "{printed}");
    assert!(!sandbox.database().exists(), "checking creates no database");
}

#[test]
fn every_invalid_value_is_named() {
    let done = run(
        &Sandbox::new(Options::new().set("PORT", "x").file(".env", "BODY_TIMEOUT_SECONDS=y\n")),
        &["config", "check"],
    );
    assert!(done.code == Some(1) && done.stdout.is_empty(), "{done:?}");
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{done:?}");
    for name in ["PORT", "BODY_TIMEOUT_SECONDS"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("cortex-core: {name} "))), "{name}: {lines:?}");
    }
}

#[test]
fn a_misspelt_name_in_the_file_causes_a_warning() {
    let options = Options::new().file(".env", "KEEPALIVE_SECONDS=7\n");
    let done = run(&Sandbox::new(options.clone()), &["config", "check"]);
    assert!(done.code == Some(0) && done.stdout.contains("KEEP_ALIVE_SECONDS=75 # default"), "{done:?}");
    assert!(done.stderr.contains("warning: .env has KEEPALIVE_SECONDS, which is no setting"), "{done:?}");
    let server = Server::start(options);
    assert!(server.log().contains("KEEPALIVE_SECONDS, which is no setting"), "{}", server.log());
}
