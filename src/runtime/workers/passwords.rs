//! The password thread.

use super::Workers;
use crate::auth::password::{HashTooLarge, Hasher};
use crate::domain::id::UserId;
use crate::domain::model::UserProfile;
use crate::domain::password::{PasswordCheck, PasswordOutcome, PasswordResponse};
use crate::domain::result::Rejection;
use crate::runtime::queue::Wakeup;
use crate::store::Reader;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The key of the password to look up.
enum Login {
    Email(Box<str>),
    User(UserId),
}

/// A stored hash, and the profile and token generation of its user, if the login did not name the user.
type StoredPassword = (String, Option<(UserProfile, u64)>);

/// Checks passwords one after the other, so that the memory of at most one hash is in use, until the queue is closed.
pub(crate) fn check_passwords(mut reader: Reader, workers: &Workers) {
    let hasher = Hasher::new(workers.memory.hash_cost, workers.memory.password_hash_bytes);
    let mut jobs = Vec::new();
    while workers.passwords.take(&mut jobs, 1, usize::MAX, None) == Wakeup::Work {
        for job in jobs.drain(..) {
            let to = job.reply_to;
            match catch_unwind(AssertUnwindSafe(|| check_password(&mut reader, &hasher, job.check))) {
                Ok(result) => workers.replies.password_response(PasswordResponse { to, result }),
                Err(_) => workers.replies.dropped(to),
            }
        }
    }
}

fn check_password(reader: &mut Reader, hasher: &Hasher, check: PasswordCheck) -> Result<PasswordOutcome, Rejection> {
    let (login, password, new) = match check {
        PasswordCheck::Login { email, password } => (Login::Email(email), password, None),
        PasswordCheck::Change { user, current, new } => (Login::User(user), current, Some(new)),
    };
    let stored = find(reader, login)?;
    // An unknown user takes the same time as a known one.
    let matches = hasher.verify_or_dummy(stored.as_ref().map(|(hash, _)| hash.as_str()), &password);
    let matches = matches.map_err(|HashTooLarge { memory_kib }| {
        log::warn!(
            "a password cannot be checked: its hash needs {memory_kib} KiB of memory, for which MEMORY_LIMIT_BYTES leaves no room; \
             raise it, or set the password again with `cortex-core user passwd`"
        );
        Rejection::TooLittleMemory
    })?;
    Ok(match (stored, new) {
        (Some((verified, _)), Some(new)) if matches => {
            PasswordOutcome::Hash { verified: verified.into(), hash: hasher.hash(&new).into() }
        }
        (Some((_, Some((profile, generation)))), None) if matches => PasswordOutcome::User { profile, generation },
        _ => PasswordOutcome::Wrong,
    })
}

fn find(reader: &mut Reader, login: Login) -> Result<Option<StoredPassword>, Rejection> {
    match login {
        Login::Email(email) => {
            let record = reader.password_record(&email)?.filter(|record| record.status.is_enabled());
            Ok(record.map(|record| (record.hash, Some((record.profile, record.token_generation)))))
        }
        Login::User(user) => Ok(reader.password_of(&user)?.map(|hash| (hash, None))),
    }
}
