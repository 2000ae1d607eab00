//! The connections with unread bytes. Networks take turns, so that the many connections of one delay no other.
//!
//! Invariant: a group is in `turns` exactly when it has a connection that is ready, and exists while it has a member.

use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    groups: Slab<Group>,
    /// The group of each network. Connections of exempt networks have one group.
    by_network: HashMap<Option<IpAddr>, u32>,
    /// The groups with ready connections, in the order of their turns.
    turns: VecDeque<u32>,
    len: usize,
}

/// The connections of one network.
#[derive(Debug)]
struct Group {
    network: Option<IpAddr>,
    members: u32,
    /// The slots that are ready. Some may be closed by now.
    ready: VecDeque<u32>,
}

impl ReadyQueue {
    /// Adds a connection to the group of its network; returns the group.
    pub(super) fn join(&mut self, network: Option<IpAddr>) -> u32 {
        let groups = &mut self.groups;
        let group = *self
            .by_network
            .entry(network)
            .or_insert_with(|| groups.insert(Group { network, members: 0, ready: VecDeque::new() }) as u32);
        self.groups[group as usize].members += 1;
        group
    }

    /// Removes a closed connection from its group.
    pub(super) fn leave(&mut self, group: u32) {
        let entry = &mut self.groups[group as usize];
        entry.members -= 1;
        if entry.members == 0 {
            let removed = self.groups.remove(group as usize);
            self.by_network.remove(&removed.network);
            self.len -= removed.ready.len();
            if !removed.ready.is_empty() {
                self.turns.retain(|other| *other != group);
            }
        }
    }

    /// Appends a ready connection of a group.
    pub(super) fn push(&mut self, group: u32, slot: u32) {
        let ready = &mut self.groups[group as usize].ready;
        if ready.is_empty() {
            self.turns.push_back(group);
        }
        ready.push_back(slot);
        self.len += 1;
    }

    /// Removes the first connection of the group whose turn it is. It may be closed by now.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let group = self.turns.pop_front()?;
        let ready = &mut self.groups[group as usize].ready;
        let slot = ready.pop_front();
        if !ready.is_empty() {
            self.turns.push_back(group);
        }
        self.len -= 1;
        slot
    }

    /// Number of connections.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether no connection is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_take_turns() {
        let mut queue = ReadyQueue::default();
        let network = |last| Some(IpAddr::from([192, 0, 2, last]));
        let (hostile, other, exempt) = (queue.join(network(1)), queue.join(network(2)), queue.join(None));
        assert_eq!(queue.join(network(1)), hostile);
        (0..5).for_each(|slot| queue.push(hostile, slot));
        queue.push(other, 10);
        queue.push(exempt, 20);
        queue.push(other, 11);
        assert_eq!(queue.len(), 8);
        let taken: Vec<u32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(taken, [0, 10, 20, 1, 11, 2, 3, 4]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_group_ends_with_its_last_connection() {
        let mut queue = ReadyQueue::default();
        let groups = [queue.join(None), queue.join(None)];
        queue.push(groups[0], 1);
        queue.push(groups[1], 2);
        queue.leave(groups[0]);
        assert_eq!(queue.pop(), Some(1), "the loop finds it closed");
        queue.leave(groups[1]);
        assert_eq!((queue.pop(), queue.len()), (None, 0));
        assert!(queue.groups.is_empty() && queue.by_network.is_empty());
    }
}
