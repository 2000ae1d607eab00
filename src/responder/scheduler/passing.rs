//! The requests whose answers are passed on: they are in memory only, and share the slots of jobs for a model.
//!
//! Users take turns on a circle, so no user waits while another is served twice.
//!
//! Invariant: a user with a waiting request is on the circle exactly once.

use crate::base::limits::{PASSING_WAITING_MAX, PASSING_WAITING_PER_USER_MAX};
use crate::domain::id::UserId;
use crate::domain::token_rules::Credential;
use std::collections::{HashMap, HashSet, VecDeque};

/// The name of a request whose answer is passed on. No other of this process has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PassingId(pub u64);

/// The requests.
#[derive(Debug, Default)]
pub(super) struct PassingQueue {
    /// The user of each request, and the credential of its token.
    callers: HashMap<PassingId, (UserId, Credential)>,
    /// The waiting requests of each user who has any.
    users: HashMap<UserId, VecDeque<PassingId>>,
    /// The users with waiting requests. The first has the next turn.
    circle: VecDeque<UserId>,
    waiting: usize,
    running: HashSet<PassingId>,
    running_of: HashMap<UserId, usize>,
}

impl PassingQueue {
    /// Adds a request. Returns the one that gives way, if there are too many: this one, or the last of the user who has most.
    pub(super) fn add(&mut self, id: PassingId, user: UserId, credential: Credential) -> Option<PassingId> {
        let own = self.users.get(&user).map_or(0, VecDeque::len);
        if own >= PASSING_WAITING_PER_USER_MAX {
            return Some(id);
        }
        let mut displaced = None;
        if self.waiting >= PASSING_WAITING_MAX {
            let largest = self.users.iter().max_by_key(|(user, waiting)| (waiting.len(), *user));
            match largest.filter(|(_, waiting)| waiting.len() > own).and_then(|(_, waiting)| waiting.back().copied()) {
                Some(last) => {
                    self.remove(last);
                    displaced = Some(last);
                }
                None => return Some(id),
            }
        }
        if own == 0 {
            self.circle.push_back(user.clone());
        }
        self.users.entry(user.clone()).or_default().push_back(id);
        self.callers.insert(id, (user, credential));
        self.waiting += 1;
        displaced
    }

    /// The next request that may start, where `has_slot` tells whether a user has a free slot. It runs from now on.
    pub(super) fn start(&mut self, has_slot: impl Fn(&UserId, usize) -> bool) -> Option<PassingId> {
        let place = self.circle.iter().position(|user| has_slot(user, self.running_of(user)))?;
        let user = self.circle.remove(place).expect("a place on the circle");
        let waiting = self.users.get_mut(&user).expect("a user on the circle has requests");
        let id = waiting.pop_front().expect("a user on the circle has requests");
        self.waiting -= 1;
        if waiting.is_empty() {
            self.users.remove(&user);
        } else {
            self.circle.push_back(user.clone());
        }
        *self.running_of.entry(user).or_default() += 1;
        self.running.insert(id);
        Some(id)
    }

    /// A request is over, or its client is gone.
    pub(super) fn remove(&mut self, id: PassingId) {
        let Some((user, _)) = self.callers.remove(&id) else { return };
        if self.running.remove(&id) {
            let count = self.running_of.get_mut(&user).expect("it ran");
            *count -= 1;
            if *count == 0 {
                self.running_of.remove(&user);
            }
            return;
        }
        let waiting = self.users.get_mut(&user).expect("it waits");
        waiting.retain(|other| *other != id);
        self.waiting -= 1;
        if waiting.is_empty() {
            self.users.remove(&user);
            self.circle.retain(|other| *other != user);
        }
    }

    /// All requests of the tokens that `is_meant` selects, waiting and running, in the order of their names.
    pub(super) fn of_tokens(&self, is_meant: impl Fn(&UserId, &Credential) -> bool) -> Vec<PassingId> {
        let meant = self.callers.iter().filter(|(_, (user, credential))| is_meant(user, credential));
        let mut all: Vec<PassingId> = meant.map(|(id, _)| *id).collect();
        all.sort_unstable();
        all
    }

    /// The waiting requests, in the order of their names.
    pub(super) fn waiting_ids(&self) -> Vec<PassingId> {
        let mut all: Vec<PassingId> = self.users.values().flatten().copied().collect();
        all.sort_unstable();
        all
    }

    /// The number of running requests of a user.
    pub(super) fn running_of(&self, user: &UserId) -> usize {
        self.running_of.get(user).copied().unwrap_or(0)
    }

    /// The number of running requests.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// The number of waiting requests.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Panics when an invariant does not hold.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.waiting, self.users.values().map(VecDeque::len).sum::<usize>());
        assert!(self.users.values().all(|waiting| (1..=PASSING_WAITING_PER_USER_MAX).contains(&waiting.len())));
        assert!(self.waiting <= PASSING_WAITING_MAX);
        let mut on_circle: Vec<&UserId> = self.circle.iter().collect();
        on_circle.sort_unstable();
        let mut users: Vec<&UserId> = self.users.keys().collect();
        users.sort_unstable();
        assert_eq!(on_circle, users);
        assert_eq!(self.running.len(), self.running_of.values().sum::<usize>());
        assert_eq!(self.callers.len(), self.waiting + self.running.len());
        let waits = |user, id| self.users.get(user).is_some_and(|waiting| waiting.contains(id));
        assert!(self.callers.iter().all(|(id, (user, _))| self.running.contains(id) != waits(user, id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        UserId::new_unchecked(format!("u{number}"))
    }

    #[test]
    fn users_take_turns_and_keep_their_share() {
        let mut queue = PassingQueue::default();
        for id in 0..6 {
            assert_eq!(queue.add(PassingId(id), user(usize::from(id >= 4)), Credential::default()), None);
        }
        let mut order = Vec::new();
        while let Some(PassingId(id)) = queue.start(|_, running| running < 2) {
            order.push(id);
            queue.check_invariants();
        }
        assert_eq!(order, [0, 4, 1, 5]);
        queue.remove(PassingId(0));
        queue.remove(PassingId(3));
        assert_eq!(queue.start(|_, running| running < 2), Some(PassingId(2)));
        queue.check_invariants();
        assert_eq!(queue.of_tokens(|one, _| *one == user(0)), [PassingId(1), PassingId(2)]);
        assert_eq!((queue.waiting(), queue.running()), (0, 4));
    }

    #[test]
    fn who_fills_the_queue_gives_way() {
        let mut queue = PassingQueue::default();
        let mut next = 0;
        let mut add = |queue: &mut PassingQueue, number| {
            next += 1;
            let displaced = queue.add(PassingId(next), user(number), Credential::default());
            queue.check_invariants();
            (PassingId(next), displaced)
        };
        for _ in 0..PASSING_WAITING_PER_USER_MAX {
            assert_eq!(add(&mut queue, 0).1, None);
        }
        let (id, displaced) = add(&mut queue, 0);
        assert_eq!(displaced, Some(id), "a user has a share");
        let mut number = 0;
        while queue.waiting() < PASSING_WAITING_MAX {
            number += 1;
            (0..PASSING_WAITING_PER_USER_MAX / 2).for_each(|_| {
                if queue.waiting() < PASSING_WAITING_MAX {
                    assert_eq!(add(&mut queue, number).1, None);
                }
            });
        }
        let (_, displaced) = add(&mut queue, number + 1);
        assert_eq!(displaced, Some(PassingId(PASSING_WAITING_PER_USER_MAX as u64)), "the last of the largest");
    }
}
