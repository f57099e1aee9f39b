//! Which way the data of a block takes, as its source chooses it.
//!
//! ```text
//!   small                                     whole   with its header, from the source to everybody
//!   a tree is there as soon                   tree    each relays whole copies
//!   large, or many members, or lost packets   coded   each relays one share to everybody
//!   none of them brought it                   direct  each asks the ordering service: never later than that
//! ```
//!
//! Both estimates come from what is measured: the length of the data, the members that can use it, our own
//! round trips, and how often members had to ask for what we had sent.

use std::collections::VecDeque;
use std::time::Duration;

use gossip_api::message::ShareClass;
use gossip_api::{ChannelId, SeqNum};

use super::spread::shape;

/// What is known when a block is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Length of the data in bytes.
    pub(super) len: u64,
    /// Members that can use the block.
    pub(super) members: usize,
    /// One-way latency, processing included: one in twenty takes longer.
    pub(super) slow_hop: Duration,
    /// One-way latency, processing included: every second one takes longer.
    pub(super) usual_hop: Duration,
    /// What a copy of the data takes on our uplink.
    pub(super) transfer: Duration,
    /// Blocks of the newest ones, in hundredths, that somebody had to ask for.
    pub(super) asked: u32,
    /// Shares given out at first, in hundredths of those needed.
    pub(super) shares: u32,
    /// Bytes that a block may cost each member, in hundredths of its data.
    pub(super) redundancy_max: u32,
}

impl Facts {
    /// Whether shares are there sooner than a tree, and cost no more than they may.
    pub(super) fn favour_shares(&self) -> bool {
        self.members >= MEMBERS_MIN
            && self.len >= LEN_MIN
            && self.redundancy() <= self.redundancy_max
            && self.by_shares().saturating_add(MARGIN) < self.by_tree()
    }

    /// When the last member has the data down a tree. Where packets are lost a hop takes as long as the
    /// slowest of all packets of a copy, so that what somebody had to ask for counts against it.
    fn by_tree(&self) -> Duration {
        let fan_out = shape::fan_out(self.members, self.slow_hop, self.transfer);
        let time = shape::time_of(self.members, fan_out, self.slow_hop, self.transfer);
        time.saturating_add(time.saturating_mul(self.asked) / 100)
    }

    /// When the last member has enough shares: two hops of the usual kind, since the slowest are not waited
    /// for, what the source and each relay upload, and the coding.
    fn by_shares(&self) -> Duration {
        let usual = self.usual_hop.saturating_mul(5) / 2;
        let upload = self.transfer.saturating_mul(2 * self.redundancy()) / 100;
        let coding = Duration::from_nanos(self.len.saturating_mul(CODING_NANOS));
        usual.saturating_add(upload).saturating_add(coding)
    }

    /// What shares cost each member, in hundredths of the data.
    fn redundancy(&self) -> u32 {
        let class = ShareClass::of(self.len);
        let share = class.share_len(self.len).max(1);
        let head = HEAD_LEN + 32 * class.branch_len() as u64;
        let head = u32::try_from(head.saturating_mul(100) / share).unwrap_or(u32::MAX);
        self.shares.saturating_add(self.shares.saturating_mul(head) / 100)
    }
}

/// The newest blocks that we sent, and whether somebody had to ask for them.
#[derive(Debug, Default)]
pub(super) struct Course(VecDeque<(ChannelId, SeqNum, bool)>);

impl Course {
    /// We send a block.
    pub(super) fn note_sent(&mut self, channel: &ChannelId, number: SeqNum) {
        if self.0.len() >= BLOCKS {
            self.0.pop_front();
        }
        self.0.push_back((channel.clone(), number, false));
    }

    /// Somebody asks for it.
    pub(super) fn note_asked(&mut self, channel: &ChannelId, number: SeqNum) {
        let is_it = |sent: &&mut (ChannelId, SeqNum, bool)| sent.1 == number && sent.0 == *channel;
        if let Some(sent) = self.0.iter_mut().rev().find(is_it) {
            sent.2 = true;
        }
    }

    /// Of the newest blocks, in hundredths, those that somebody asked for.
    pub(super) fn asked(&self) -> u32 {
        let asked = self.0.iter().filter(|(_, _, asked)| *asked).count();
        u32::try_from(asked * 100 / self.0.len().max(1)).unwrap_or(100)
    }
}

/// Fewer members are served as soon by the source alone.
const MEMBERS_MIN: usize = 4;

/// Shorter data are not worth the head of each share.
const LEN_MIN: u64 = 32 << 10;

/// Shares cost more computing than a tree: they have to be sooner by this much.
const MARGIN: Duration = Duration::from_millis(5);

/// Making shares of a byte and a byte of shares, hashing included.
const CODING_NANOS: u64 = 4;

/// Bytes of a share's frame besides its branch and its payload.
const HEAD_LEN: u64 = 110;

/// Blocks remembered.
const BLOCKS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A gigabit per second, 5 to 50 ms one way.
    fn facts(len: u64, members: usize) -> Facts {
        Facts {
            len,
            members,
            slow_hop: ms(50),
            usual_hop: ms(30),
            transfer: Duration::from_nanos(len * 8),
            asked: 0,
            shares: 135,
            redundancy_max: 160,
        }
    }

    #[test]
    fn large_blocks_for_many_go_in_shares_and_small_ones_or_few_members_get_a_tree() {
        assert!(facts(1 << 20, 99).favour_shares());
        assert!(facts(10 << 20, 24).favour_shares());
        assert!(!facts(16 << 10, 99).favour_shares());
        assert!(!facts(1 << 20, 3).favour_shares());
        assert!(!facts(64 << 10, 9).favour_shares());
    }

    #[test]
    fn what_shares_may_not_cost_they_do_not_cost() {
        let frugal = Facts { redundancy_max: 120, ..facts(1 << 20, 99) };
        assert!(!frugal.favour_shares());
    }

    #[test]
    fn where_members_have_to_ask_a_tree_is_slower() {
        let calm = facts(160 << 10, 24);
        let (calm, rough) = (calm, Facts { asked: 100, ..calm });
        assert!(rough.by_tree() >= calm.by_tree() * 2);
        assert!(rough.favour_shares());
    }

    #[test]
    fn the_newest_blocks_are_remembered_and_each_is_asked_for_once() {
        let (channel, mut course) = (ChannelId::new("trade").unwrap(), Course::default());
        assert_eq!(course.asked(), 0);
        for number in 0..64 {
            course.note_sent(&channel, SeqNum::new(number));
        }
        for _ in 0..3 {
            course.note_asked(&channel, SeqNum::new(63));
        }
        course.note_asked(&channel, SeqNum::new(1));
        assert_eq!(course.asked(), 3, "one of thirty-two");
    }
}
