//! A peer 10^5 blocks behind, with default settings, while the tip moves. hardening B6, B7.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Host, Request, chain, ms, pki};
use gossip_api::{Block, Machine, Mono};
use gossip_state::invariants::in_order_exactly_once;
use gossip_state::{BlockOrigin, RequestOutcome};

const BEHIND: u64 = 100_000;
const LIAR: u8 = 4;
const SILENT: u8 = 5;

enum Event {
    Answer(Request),
    TimeOut(Request),
    NewBlock,
}

struct Net {
    host: Host,
    blocks: Vec<Block>,
    tip: u64,
    queue: BTreeMap<(Mono, u64), Event>,
    order: u64,
    wasted: u32,
}

impl Net {
    fn after(&mut self, wait: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((self.host.now.after(wait), self.order), event);
    }

    fn collect(&mut self) {
        for request in self.host.requests() {
            if request.to == pki(SILENT) {
                self.after(ms(3_000), Event::TimeOut(request));
            } else {
                self.after(ms(20), Event::Answer(request));
            }
        }
        self.host.actions.clear();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Answer(request) if request.to == pki(LIAR) => {
                self.wasted += 1;
                self.host.end(&request, RequestOutcome::Complete);
            }
            Event::Answer(request) => {
                self.host.answer(&request, &self.blocks[..self.tip as usize]);
            }
            Event::TimeOut(request) => {
                self.wasted += 1;
                self.host.end(&request, RequestOutcome::TimedOut);
            }
            Event::NewBlock => {
                self.tip += 1;
                for who in 1..=3 {
                    self.host.claim(who, self.tip);
                }
                self.host.claim(LIAR, 1 << 63);
                self.host.claim(SILENT, self.tip);
                let block = self.blocks[self.tip as usize - 1].clone();
                if self.host.machine.wants(block.number) {
                    self.host.offer(&block, BlockOrigin::Push { from: pki(1) });
                }
                self.after(ms(100), Event::NewBlock);
            }
        }
    }

    fn run_until_at_tip(&mut self, limit: Duration) -> Duration {
        let end = self.host.now.after(limit);
        while self.host.height() < self.tip {
            self.collect();
            let event = self.queue.first_key_value().map(|(key, _)| key.0);
            let wakeup = self.host.machine.next_wakeup().map(|wakeup| wakeup.at);
            let next = [event, wakeup].into_iter().flatten().min().unwrap();
            assert!(next < end, "at {} of {}", self.host.height(), self.tip);
            self.host.pass(next.since(self.host.now));
            if event == Some(next) {
                let (_, event) = self.queue.pop_first().unwrap();
                self.on_event(event);
            }
        }
        self.host.now.since(Mono::ZERO)
    }
}

#[test]
fn it_reaches_the_moving_tip_in_order_and_a_liar_costs_next_to_nothing() {
    let blocks = chain(BEHIND + 20_000, 100);
    let host = Host::at(1);
    let mut net = Net { host, blocks, tip: BEHIND, queue: BTreeMap::new(), order: 0, wasted: 0 };
    net.on_event(Event::NewBlock);
    let took = net.run_until_at_tip(Duration::from_secs(600));
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(net.wasted <= 20, "{} requests wasted on two bad peers", net.wasted);
    let first = gossip_api::Height::new(1);
    assert!(in_order_exactly_once(first, net.host.ledger.iter().copied()));
    assert_eq!(net.host.stalled(), None);
}
