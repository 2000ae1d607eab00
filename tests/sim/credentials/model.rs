//! Which credentials are accepted, according to what the database says and to what a shard has received of it.

use cortex_core::internals::limits::TOKEN_LEEWAY_SECONDS;
use cortex_core::internals::{Claims, Purpose, WallTime};

/// A user, as the database has it.
#[derive(Debug, Clone)]
pub struct UserState {
    pub is_enabled: bool,
    /// The number of changes that ended all credentials of the user.
    pub era: u64,
    pub password: String,
}

/// What decides whether a credential is accepted: the users in the database, or those that a shard has received.
#[derive(Debug, Clone)]
pub struct View {
    pub users: Vec<UserState>,
    /// The keys that are accepted. The first one signs logins.
    pub keys: Vec<usize>,
}

/// A token or a ticket.
#[derive(Debug, Clone)]
pub struct Issued {
    pub text: String,
    pub user: usize,
    /// The era of the login that it comes from.
    pub era: u64,
    pub key: usize,
    pub claims: Claims,
}

impl Issued {
    pub fn is_ticket(&self) -> bool {
        self.claims.purpose == Purpose::StreamTicket
    }

    /// Its end by the clock.
    pub fn ends_at(&self) -> WallTime {
        self.claims.expires_at.plus_seconds(TOKEN_LEEWAY_SECONDS)
    }
}

impl View {
    /// Whether the user's state lets the credential be used. A login may be newer than the view.
    pub fn permits(&self, issued: &Issued) -> bool {
        let user = &self.users[issued.user];
        user.is_enabled && issued.era >= user.era
    }

    /// Whether the credential has ended at `now`.
    pub fn has_ended(&self, issued: &Issued, now: WallTime) -> bool {
        !self.permits(issued) || !self.keys.contains(&issued.key) || now >= issued.ends_at()
    }

    /// Whether a new request with the credential is accepted at `now`. If the clock went back, the credential may not be
    /// valid yet.
    pub fn accepts(&self, issued: &Issued, now: WallTime) -> bool {
        let soon = now.plus_seconds(TOKEN_LEEWAY_SECONDS);
        let times = [issued.claims.issued_at, issued.claims.credential.authenticated_at];
        !self.has_ended(issued, now) && times.into_iter().flatten().all(|at| at <= soon)
    }
}
