//! Profiles, the development user, and passwords.

use crate::common::*;
use cortex_core::internals::{
    CommandKind, ConversationRef, Credential, Outcome, QueryKind, QueryResult, Rejection, TokenRule, UserId,
    UserProfile, WallTime,
};

#[test]
fn the_newest_token_determines_name_and_email() {
    let mut world = World::in_file();
    let mut post_as = |name: Option<&str>, email: Option<&str>| -> UserProfile {
        let mut command = command("ann", post(ConversationRef::Default, "x"));
        (command.actor.name, command.actor.email) = (name.map(Into::into), email.map(Into::into));
        let committed = world.commit(&[command]);
        let sent = committed.events.last().unwrap().message().unwrap().sender_name.clone();
        world.writer().check_invariants();
        let QueryResult::Users(found) = world.query_result("ann", QueryKind::Users(users(&["ann"]))) else { panic!() };
        assert_eq!(found[0].name, sent);
        found[0].clone()
    };
    let told = |name: &str, email: &str| UserProfile {
        id: UserId::new_unchecked("ann"),
        name: name.into(),
        email: email.into(),
    };
    assert_eq!(post_as(None, None), told("", ""));
    assert_eq!(post_as(Some("Ann"), None), told("Ann", ""));
    assert_eq!(post_as(None, Some("a@example.com")), told("Ann", "a@example.com"));
    assert_eq!(post_as(Some("Anna"), Some("b@example.com")), told("Anna", "b@example.com"));
    assert_eq!(post_as(None, None), told("Anna", "b@example.com"));
}

const DEVELOPMENT: &str = "550e8400-e29b-41d4-a716-446655440000";

#[test]
fn the_development_user_keeps_a_changed_password() {
    let mut world = World::in_file();
    let now = world.now;
    world.writer().set_development_user(None, now).unwrap();
    assert_eq!(
        world.writer().open_reader().unwrap().password_record("user@example.com").unwrap(),
        None,
        "production creates no user"
    );
    world.writer().set_development_user(Some("first"), now).unwrap();

    let mut reader = world.writer().open_reader().unwrap();
    let record = reader.password_record("USER@example.COM").unwrap().unwrap();
    assert_eq!((record.profile.id.as_str(), &*record.profile.name), (DEVELOPMENT, "Test User"));
    assert_eq!((record.hash.as_str(), record.status.is_enabled()), ("first", true));
    assert!(world.writer().token_rules().unwrap().is_empty());

    let change = world
        .commit(&[command(DEVELOPMENT, CommandKind::SetPassword { verified: "first".into(), hash: "second".into() })]);
    assert!(matches!(change.results[0].result, Ok(Outcome::PasswordChanged)));
    let token_rules = change.token_rules.expect("the rules changed");
    let id = UserId::new_unchecked(DEVELOPMENT);
    let Some(TokenRule::Since { generation, at }) = token_rules.get(&UserId::new_unchecked(DEVELOPMENT)) else {
        panic!("{token_rules:?}")
    };
    let accepts = |authenticated_at: WallTime, generation| {
        token_rules.accepts(&id, &Credential { authenticated_at: Some(authenticated_at), generation })
    };
    assert!(at >= now && accepts(at, None) && !accepts(WallTime(at.0 - 1), None));
    assert!(accepts(WallTime(0), Some(generation)) && !accepts(at.plus_seconds(9), Some(generation - 1)));
    let record = reader.password_record("user@example.com").unwrap().unwrap();
    assert_eq!(record.token_generation, generation, "a login gets the present generation");
    let with_token = |world: &mut World, generation| {
        let mut command = command(DEVELOPMENT, post(ConversationRef::Default, "x"));
        command.actor.credential = Credential { authenticated_at: Some(at), generation };
        world.commit(&[command]).results.remove(0).result.map(drop)
    };
    assert_eq!(with_token(&mut world, Some(0)), Err(Rejection::Unauthorized), "a token from before the change");
    assert_eq!(with_token(&mut world, Some(generation)), Ok(()));
    world.writer().set_development_user(Some("first"), now).unwrap();
    assert_eq!(reader.password_of(&UserId::new_unchecked(DEVELOPMENT)).unwrap().as_deref(), Some("second"));

    world.writer().set_development_user(None, now).unwrap();
    assert!(!reader.password_record("user@example.com").unwrap().unwrap().status.is_enabled());
    assert_eq!(reader.password_of(&UserId::new_unchecked(DEVELOPMENT)).unwrap(), None);
    assert_eq!(
        world.writer().token_rules().unwrap().get(&UserId::new_unchecked(DEVELOPMENT)),
        Some(TokenRule::RejectAll)
    );
    assert_eq!(with_token(&mut world, Some(generation)), Err(Rejection::Unauthorized));
    world.reopen();
    world.writer().set_development_user(Some("first"), now).unwrap();
    assert_eq!(with_token(&mut world, Some(generation)), Ok(()));
    assert_eq!(reader.password_of(&UserId::new_unchecked(DEVELOPMENT)).unwrap().as_deref(), Some("second"));
}

/// Two changes verified the same hash, or an administrator was faster: only the first one is stored.
#[test]
fn a_password_change_is_stored_only_if_the_verified_hash_is_still_there() {
    let mut world = World::in_file();
    let now = world.now;
    world.writer().set_development_user(Some("first"), now).unwrap();
    let change = |verified: &str, hash: &str, generation| {
        let kind = CommandKind::SetPassword { verified: verified.into(), hash: hash.into() };
        let mut command = command(DEVELOPMENT, kind);
        command.actor.credential = Credential { authenticated_at: Some(now), generation: Some(generation) };
        command
    };
    let post = |generation| {
        let mut command = command(DEVELOPMENT, post(ConversationRef::Default, "x"));
        command.actor.credential = Credential { authenticated_at: Some(now), generation: Some(generation) };
        command
    };
    // In one transaction: later commands are checked against the rows that the first one wrote.
    let batch = [post(0), change("first", "second", 0), change("first", "third", 0), post(0)];
    let results: Vec<_> = world.commit(&batch).results.into_iter().map(|done| done.result.map(drop)).collect();
    let conflict = Err(Rejection::Conflict("The password was changed in the meantime"));
    assert_eq!(results, [Ok(()), Ok(()), conflict.clone(), Err(Rejection::Unauthorized)]);
    let stored =
        |world: &mut World| world.writer().open_reader().unwrap().password_of(&UserId::new_unchecked(DEVELOPMENT));
    assert_eq!(stored(&mut world).unwrap().as_deref(), Some("second"));
    // The same in a later transaction, after a restart, and with a hash that never was one.
    world.reopen();
    let generation = u64::try_from(now.0).unwrap();
    for (verified, of_token) in [("first", 0), ("first", generation), ("", generation)] {
        let done = world.commit(&[change(verified, "fourth", of_token)]).results.remove(0).result.map(drop);
        assert_eq!(done, conflict, "{verified}");
    }
    // The right hash does not help an older token.
    let done = world.commit(&[change("second", "fifth", generation - 1)]).results.remove(0).result.map(drop);
    assert_eq!(done, Err(Rejection::Unauthorized));
    assert_eq!(stored(&mut world).unwrap().as_deref(), Some("second"));
    world.writer().check_invariants();
}

#[test]
fn an_email_with_a_password_cannot_be_taken_over() {
    let mut world = World::in_file();
    let now = world.now;
    world.writer().set_development_user(Some("hash"), now).unwrap();
    let mut imposter = command("ann", post(ConversationRef::Default, "x"));
    imposter.actor.email = Some("User@Example.com".into());
    assert!(world.commit(&[imposter]).results[0].result.is_ok(), "two users may have the same email");
    let record = world.writer().open_reader().unwrap().password_record("user@example.com").unwrap().unwrap();
    assert_eq!(record.profile.id.as_str(), DEVELOPMENT, "only one of them logs in with it");
    assert_eq!(
        world.rejected("ann", CommandKind::SetPassword { verified: "hash".into(), hash: "mine".into() }),
        Rejection::Conflict("the user has no password")
    );
    assert_eq!(
        world.rejected("nobody", CommandKind::SetPassword { verified: "hash".into(), hash: "mine".into() }),
        Rejection::Conflict("the user has no password")
    );
    assert!(world.writer().token_rules().unwrap().is_empty());
}

#[test]
fn profiles_are_visible_to_users_who_share_a_conversation() {
    let SharedConversation { mut world, conversation, .. } = SharedConversation::new();
    world.post("ben", conversation, "x");
    world.workspace("cyd");
    world.workspace("eve");
    let mut asks = |user: &str| -> Vec<(String, String)> {
        let kind = QueryKind::Users(users(&["dan", "cyd", "ben", "ann", "nobody", "ben"]));
        let QueryResult::Users(found) = world.query_result(user, kind) else { panic!() };
        found.iter().map(|profile| (profile.id.to_string(), profile.name.to_string())).collect()
    };
    let pairs = |ids: &[&str]| ids.iter().map(|id| (id.to_string(), id.to_uppercase())).collect::<Vec<_>>();
    assert_eq!(asks("ben"), pairs(&["cyd", "ben", "ann"]));
    assert_eq!(asks("ann"), pairs(&["cyd", "ben", "ann"]));
    assert_eq!(asks("dan"), pairs(&["dan"]));
    assert_eq!(asks("eve"), []);
    assert_eq!(asks("nobody"), []);
    world.done("ann", leave(conversation));
    let kind = QueryKind::Users(users(&["ann"]));
    let QueryResult::Users(found) = world.query_result("ben", kind) else { panic!() };
    assert_eq!(found.len(), 1, "the owner of the workspace shares all its conversations");
    world.done("ann", delete_conversation(conversation));
    let QueryResult::Users(found) = world.query_result("ben", QueryKind::Users(users(&["ann", "cyd"]))) else {
        panic!()
    };
    assert!(found.is_empty(), "no conversation is shared any more");
}
