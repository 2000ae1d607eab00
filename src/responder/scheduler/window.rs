//! The jobs of one class that wait in memory, and whose turn it is.
//!
//! Users take turns on a circle, in the order of their keys. Each start is a turn, and the next turn belongs to the next user on
//! the circle that has a job and a free share. So no user waits while another is served twice.
//!
//! Whatever does not fit into memory stays in the table. The jobs in memory are those that come next: the users from the last
//! turn through `end` are known, and for each of them the oldest jobs. The rest is listed before its turn comes.
//!
//! Invariant: if a user is known, each of its jobs in the table that is the first of its conversation is here, unless it comes
//! after `through`.

use crate::domain::answer_job::{AnswerJob, JobId, JobPage, JobRange, UserJobPage, UserKey};
use crate::domain::id::{ConversationId, UserId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Before all users.
const START: UserKey = UserKey(0);

/// Bounds of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLimits {
    /// Jobs that run at once.
    pub running_max: usize,
    /// Such jobs of one user.
    pub running_per_user_max: u32,
    /// Jobs that wait in memory.
    pub waiting_max: usize,
    /// Such jobs of one user.
    pub waiting_per_user_max: usize,
    /// Jobs after which a page has no further user.
    pub page_jobs: usize,
}

/// The waiting jobs of one class.
#[derive(Debug)]
pub(super) struct JobWindow {
    limits: WindowLimits,
    /// The users with waiting, running or unknown jobs.
    users: BTreeMap<UserKey, UserJobs>,
    /// The user that had the last turn.
    turn: UserKey,
    /// The users after `turn` through this one are known; `None` if all are.
    end: Option<UserKey>,
    waiting: usize,
    running: usize,
    listing: Option<PendingPage>,
}

/// One user's jobs.
#[derive(Debug, Default)]
struct UserJobs {
    waiting: BTreeMap<JobId, AnswerJob>,
    /// Jobs after this one are in the table only; `None` if there are none.
    through: Option<JobId>,
    running: BTreeSet<JobId>,
}

/// A page that is being read from the table.
#[derive(Debug)]
struct PendingPage {
    range: JobRange,
    /// Jobs that were added since the request and had to stay in the table: the page may be older than they are.
    added: Vec<AnswerJob>,
    /// Jobs that were closed since the request. The page may still have them.
    closed: HashSet<JobId>,
    /// Jobs were dropped since the request, so the page may lack jobs.
    is_stale: bool,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Start this job.
    Start(AnswerJob),
    /// Hold this job until the running one of its conversation ends.
    Hold(AnswerJob),
    /// List jobs.
    List(JobRange),
    /// Wait for an input.
    Wait,
}

impl JobWindow {
    /// A window that knows nothing of the table.
    pub(super) fn new(limits: WindowLimits) -> JobWindow {
        JobWindow {
            limits,
            users: BTreeMap::new(),
            turn: START,
            end: Some(START),
            waiting: 0,
            running: 0,
            listing: None,
        }
    }

    /// Number of waiting jobs in memory.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Number of running jobs.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Whether another job may start while others have `taken` slots.
    pub(super) fn has_slot(&self, taken: usize) -> bool {
        self.running + taken < self.limits.running_max
    }

    /// Whether a page is being read.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// Adds a job that does not run, unless it has to stay in the table.
    pub(super) fn add(&mut self, job: AnswerJob) {
        let comes_later =
            self.users.get(&job.user_key).and_then(|user| user.through).is_some_and(|through| job.key > through);
        if self.is_known(job.user_key) && !comes_later {
            return self.insert(job);
        }
        if let Some(listing) = &mut self.listing {
            if listing.added.len() < self.limits.waiting_max {
                listing.added.push(job);
            } else {
                listing.is_stale = true;
            }
        }
    }

    /// The next action, where `is_busy` tells whether a job of a conversation runs, and `taken` how many slots others have of all, or
    /// of those of one user.
    pub(super) fn next(
        &self,
        is_busy: impl Fn(ConversationId) -> bool,
        taken: impl Fn(Option<&UserId>) -> usize,
    ) -> Next {
        let has_slot = self.has_slot(taken(None));
        for (key, user) in self.known().take_while(|_| has_slot) {
            let first = user.waiting.values().next();
            let running = user.running.len().saturating_add(first.map_or(0, |job| taken(Some(&job.user))));
            if running >= self.limits.running_per_user_max as usize {
                continue;
            }
            match (first, user.through) {
                (Some(job), _) if is_busy(job.conversation_id) => return Next::Hold(job.clone()),
                (Some(job), _) => return Next::Start(job.clone()),
                (None, Some(after)) => return self.unless_listing(JobRange::User { user: key, after }),
                (None, None) => {}
            }
        }
        let has_room = self.waiting + self.limits.page_jobs <= self.limits.waiting_max;
        match self.end {
            Some(end) if has_room => self.unless_listing(JobRange::UsersAfter(end)),
            _ => Next::Wait,
        }
    }

    /// Removes a waiting job that is to be held.
    pub(super) fn hold(&mut self, job: &AnswerJob) {
        let user = self.users.get_mut(&job.user_key);
        if user.is_some_and(|user| user.waiting.remove(&job.key).is_some()) {
            self.waiting -= 1;
        }
        self.remove_if_empty(job.user_key);
    }

    /// Removes a job that is closed, if it waits here.
    pub(super) fn remove(&mut self, job: JobId) {
        let waiting = self.users.iter_mut().find_map(|(key, user)| user.waiting.remove(&job).map(|_| *key));
        if let Some(user) = waiting {
            self.waiting -= 1;
            self.remove_if_empty(user);
        }
    }

    /// A waiting job is started, which is its user's turn.
    pub(super) fn started(&mut self, job: &AnswerJob) {
        let user = self.users.entry(job.user_key).or_default();
        self.waiting -= usize::from(user.waiting.remove(&job.key).is_some());
        user.running.insert(job.key);
        self.running += 1;
        // Users that are passed are known no longer, unless all are.
        let mut passed = Vec::new();
        for (key, _) in self.known().take_while(|_| self.end.is_some()) {
            passed.push(key);
            if key == job.user_key {
                break;
            }
        }
        self.turn = job.user_key;
        for user in passed {
            self.forget(user);
        }
    }

    /// A started job has ended. If it is still open, add it again.
    pub(super) fn ended(&mut self, job: &AnswerJob) {
        let Some(user) = self.users.get_mut(&job.user_key) else { return };
        self.running -= usize::from(user.running.remove(&job.key));
        self.remove_if_empty(job.user_key);
    }

    /// A job is closed. The page that is being read may still have it, in the class of either window.
    pub(super) fn closed(&mut self, job: JobId) {
        if let Some(listing) = &mut self.listing {
            listing.closed.insert(job);
        }
    }

    /// Jobs may be in the table that never came here: all jobs have to be listed.
    pub(super) fn forget_all(&mut self) {
        let users: Vec<UserKey> = self.users.keys().copied().collect();
        for user in users {
            self.forget(user);
        }
        self.end = Some(self.turn);
        if let Some(listing) = &mut self.listing {
            listing.is_stale = true;
        }
    }

    /// A page of this range has been requested.
    pub(super) fn list(&mut self, range: JobRange) {
        self.listing = Some(PendingPage { range, added: Vec::new(), closed: HashSet::new(), is_stale: false });
    }

    /// The page that was requested, without jobs that run; `None` if it could not be read.
    pub(super) fn listed(&mut self, page: Option<JobPage>) {
        let Some(mut listing) = self.listing.take() else { return };
        if let Some(page) = page.filter(|_| !listing.is_stale) {
            match listing.range {
                JobRange::User { user, after } => self.user_listed(user, after, page, &listing.closed),
                JobRange::UsersAfter(after) => self.users_listed(after, page, &listing.closed),
            }
        }
        for job in listing.added.drain(..) {
            if !listing.closed.contains(&job.key) {
                self.add(job);
            }
        }
    }

    fn user_listed(&mut self, user: UserKey, after: JobId, page: JobPage, closed: &HashSet<JobId>) {
        // The user may have been forgotten since the request.
        if self.users.get(&user).is_some_and(|user| user.through == Some(after)) {
            let jobs = page.users.into_iter().next();
            self.add_page(jobs.unwrap_or(UserJobPage { user, jobs: Vec::new(), through: None }), closed);
        }
    }

    fn users_listed(&mut self, after: UserKey, page: JobPage, closed: &HashSet<JobId>) {
        // Users may have been forgotten since the request.
        if self.end != Some(after) {
            return;
        }
        let is_past_start = after < self.turn;
        for jobs in page.users {
            if is_past_start && jobs.user > self.turn {
                // The page has gone round the circle.
                self.end = None;
                return;
            }
            if self.waiting + jobs.jobs.len() > self.limits.waiting_max {
                return;
            }
            // The user of the last turn is the last on the circle.
            self.end = Some(jobs.user).filter(|user| *user != self.turn);
            self.add_page(jobs, closed);
        }
        if page.is_last {
            let is_complete = is_past_start || self.turn == START;
            self.end = if is_complete { None } else { Some(START) };
        }
    }

    /// Adds the jobs of a page that follow the known ones of a user.
    fn add_page(&mut self, page: UserJobPage, closed: &HashSet<JobId>) {
        self.users.entry(page.user).or_default().through = page.through;
        for job in page.jobs.into_iter().filter(|job| !closed.contains(&job.key)) {
            self.add(job);
        }
        self.remove_if_empty(page.user);
    }

    /// Panics when an invariant does not hold.
    pub(super) fn check_invariants(&self) {
        let known: BTreeSet<UserKey> = self.known().map(|(key, _)| key).collect();
        for (key, user) in &self.users {
            assert!(!user.is_empty());
            assert!(user.waiting.values().all(|job| job.user_key == *key));
            assert!(user.waiting.len() <= self.limits.waiting_per_user_max, "a user has more than its share of memory");
            assert!(user.running.len() <= self.limits.running_per_user_max as usize, "a user exceeds its share");
            assert!(user.waiting.keys().all(|job| !user.running.contains(job)), "a job waits and runs");
            assert!(user.through.is_none_or(|through| user.waiting.keys().all(|job| *job <= through)));
            let has_known_jobs = !user.waiting.is_empty() || user.through.is_some();
            assert!(!has_known_jobs || known.contains(key), "jobs of an unknown user are in memory");
            assert_eq!(self.is_known(*key), known.contains(key));
        }
        assert_eq!(self.waiting, self.users.values().map(|user| user.waiting.len()).sum::<usize>());
        assert_eq!(self.running, self.users.values().map(|user| user.running.len()).sum::<usize>());
        assert!(self.waiting <= self.limits.waiting_max && self.running <= self.limits.running_max);
    }

    /// Whether the jobs of a user are known.
    fn is_known(&self, user: UserKey) -> bool {
        match self.end {
            None => true,
            Some(end) if end >= self.turn => self.turn < user && user <= end,
            Some(end) => self.turn < user || user <= end,
        }
    }

    /// The known users in the order of their turns.
    fn known(&self) -> impl DoubleEndedIterator<Item = (UserKey, &UserJobs)> {
        let after_turn = match self.end {
            Some(end) if end >= self.turn => (Excluded(self.turn), Included(end)),
            _ => (Excluded(self.turn), Unbounded),
        };
        let from_start = match self.end {
            None => (Unbounded, Included(self.turn)),
            Some(end) if end >= self.turn => (Unbounded, Excluded(START)),
            Some(end) => (Unbounded, Included(end)),
        };
        self.users.range(after_turn).chain(self.users.range(from_start)).map(|(key, user)| (*key, user))
    }

    fn unless_listing(&self, range: JobRange) -> Next {
        if self.listing.is_some() { Next::Wait } else { Next::List(range) }
    }

    /// Adds a job of a known user. The jobs that come last give way.
    fn insert(&mut self, job: AnswerJob) {
        let user = self.users.entry(job.user_key).or_default();
        self.waiting += usize::from(user.waiting.insert(job.key, job).is_none());
        if user.waiting.len() > self.limits.waiting_per_user_max {
            user.waiting.pop_last();
            user.through = user.waiting.last_key_value().map(|(key, _)| *key);
            self.waiting -= 1;
        }
        while self.waiting > self.limits.waiting_max {
            self.forget_last();
        }
    }

    /// Forgets the user whose turn comes last.
    fn forget_last(&mut self) {
        let mut forgotten = Vec::new();
        for (key, user) in self.known().rev() {
            forgotten.push(key);
            if !user.waiting.is_empty() {
                break;
            }
        }
        let Some(UserKey(last)) = forgotten.last().copied() else { return };
        for user in forgotten {
            self.forget(user);
        }
        self.end = Some(UserKey(last - 1));
    }

    /// Leaves the waiting jobs of a user in the table.
    fn forget(&mut self, key: UserKey) {
        let Some(user) = self.users.get_mut(&key) else { return };
        self.waiting -= user.waiting.len();
        user.waiting.clear();
        user.through = None;
        self.remove_if_empty(key);
    }

    fn remove_if_empty(&mut self, key: UserKey) {
        if self.users.get(&key).is_some_and(UserJobs::is_empty) {
            self.users.remove(&key);
        }
    }
}

impl UserJobs {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.through.is_none() && self.running.is_empty()
    }
}
