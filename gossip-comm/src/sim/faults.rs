//! What can go wrong, as methods of the cluster.

use super::cluster::Cluster;
use super::link::Link;
use super::net::PeerSpec;
use crate::host::Host;

impl<H: Host> Cluster<H> {
    /// The process dies without a word. Neighbours notice by its silence.
    pub fn crash(&mut self, peer: usize) {
        self.net.crash(self.now, peer, false);
        self.silence(peer);
    }

    /// The process closes its connections and ends. Neighbours are told.
    pub fn stop(&mut self, peer: usize) {
        self.net.crash(self.now, peer, true);
        self.silence(peer);
    }

    /// The process runs again as `spec`, with a machine that has what survived; without a stop before,
    /// it crashes first. Neighbours that still believe in an old connection learn better when they use it.
    pub fn restart(&mut self, peer: usize, spec: PeerSpec, machine: H::Machine) {
        self.net.restart(self.now, peer, spec);
        self.silence(peer);
        self.node_mut(peer).machine = machine;
        self.rearm(peer);
        self.collect();
    }

    /// The process is stopped (SIGSTOP, a sleeping machine): it handles nothing, and what comes for it
    /// waits. Neighbours see it as silent.
    pub fn pause(&mut self, peer: usize) {
        if self.net.is_up(peer) {
            self.net.set_paused(self.now, peer, true);
            self.collect();
        }
    }

    /// A paused process goes on; everything that waited reaches it now, in order.
    pub fn resume(&mut self, peer: usize) {
        if !self.net.is_paused(peer) {
            return;
        }
        self.net.set_paused(self.now, peer, false);
        let stalled = std::mem::take(&mut self.node_mut(peer).stalled);
        for task in stalled {
            self.queue.push(self.now, task);
        }
        self.collect();
    }

    /// Cuts the network into groups: peers reach only those for which `group` gives the same number.
    /// Replaces an earlier split; peers added later are in group 0.
    pub fn split(&mut self, mut group: impl FnMut(usize) -> u32) {
        (0..self.peers()).for_each(|peer| self.net.set_group(peer, group(peer)));
        self.net.refresh_all(self.now);
        self.collect();
    }

    /// Ends every split, cut and clog.
    pub fn heal(&mut self) {
        self.net.clear_cuts();
        self.net.refresh_all(self.now);
        self.collect();
    }

    /// Has nothing pass to or from a peer, or lets it pass again.
    pub fn clog(&mut self, peer: usize, clogged: bool) {
        self.net.set_clogged(self.now, peer, clogged);
        self.collect();
    }

    /// Cuts the way from `from` to `to`, or mends it; the way back stays as it is.
    pub fn cut_one_way(&mut self, from: usize, to: usize, cut: bool) {
        self.net.set_cut(from, to, cut);
        self.net.refresh(self.now, to, from);
        self.collect();
    }

    /// Changes what lies between every pair that has no link of its own.
    pub fn set_default_link(&mut self, link: Link) {
        self.net.set_wire(&link);
    }

    /// Gives two peers a link of their own, both ways.
    pub fn set_link(&mut self, a: usize, b: usize, link: Link) {
        self.net.set_wire_between(a, b, &link);
    }

    /// Limits what a peer sends to all others together; nothing for no limit.
    pub fn set_uplink(&mut self, peer: usize, bits_per_second: impl Into<Option<u64>>) {
        self.net.set_uplink(peer, bits_per_second.into());
    }

    /// Limits what a peer receives from all others together; nothing for no limit.
    pub fn set_downlink(&mut self, peer: usize, bits_per_second: impl Into<Option<u64>>) {
        self.net.set_downlink(peer, bits_per_second.into());
    }

    /// Has a peer's transport refuse all questions, as one does that answers too many already; or not.
    pub fn set_refusing(&mut self, peer: usize, refuses: bool) {
        self.net.set_refusing(peer, refuses);
    }

    /// Sets a peer's calendar this far ahead of the right one (behind, if negative): it may be wrong from
    /// the start, or jump. Its timers do not notice.
    pub fn set_wall_ahead(&mut self, peer: usize, seconds: i64) {
        self.net.set_wall_ahead(peer, seconds);
        self.recheck(peer);
    }

    /// A peer looks again at the identities of all that it is connected to, as after a revocation.
    pub fn recheck(&mut self, peer: usize) {
        self.net.recheck(self.now, peer);
        self.collect();
    }

    /// Forgets what waits for a peer that no longer runs.
    fn silence(&mut self, peer: usize) {
        let node = self.node_mut(peer);
        node.armed = None;
        node.stalled.clear();
        self.collect();
    }
}
