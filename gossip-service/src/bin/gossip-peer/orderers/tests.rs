//! Orderers that withhold, lie, stall, refuse or are not there, over real TLS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use gossip_api::{BlockSource as _, SeqNum, SourceError};

use super::{OrdererSource, Settings, backoff};
use crate::dev::bench::{Bench, Script};

/// Reads blocks from 1 to `last` as a peer does: opened again after every failure. Gives the failures.
async fn read_all(bench: &Bench, source: &OrdererSource, last: u64) -> Vec<String> {
    let mut failures = Vec::new();
    let mut next = 1;
    let reading = async {
        while next <= last {
            let mut stream = match source.blocks(&bench.channel, SeqNum::new(next)).await {
                Ok(stream) => stream,
                Err(error) => {
                    failures.push(error.to_string());
                    continue;
                }
            };
            while next <= last {
                match stream.next().await.unwrap() {
                    Ok(block) => {
                        assert_eq!(block.number.get(), next);
                        next += 1;
                    }
                    Err(error) => {
                        failures.push(error.to_string());
                        break;
                    }
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("every block in time");
    failures
}

/// Whichever of the two is asked first, every block comes, and what is told of the bad one names it.
async fn check(bad: Script, told: &str) {
    let mut seen = false;
    for _ in 0..12 {
        let bench = Bench::with_orderers(6, &[bad, Script::Honest]).await;
        let source = OrdererSource::new(Arc::new(bench.us(Duration::from_millis(400))));
        let failures = read_all(&bench, &source, 5).await;
        assert!(failures.len() <= 1, "{bad:?} is not asked twice: {failures:?}");
        for failure in failures {
            assert!(failure.contains(told), "{bad:?}: {failure}");
            assert!(failure.contains("orderer 127.0.0.1:"), "it is named: {failure}");
            seen = true;
        }
        if seen {
            return;
        }
    }
    panic!("{bad:?} was never asked first");
}

#[tokio::test]
async fn an_orderer_that_withholds_is_found_out_by_another_ones_header() {
    check(Script::Withholds(3), "withholds block 3").await;
}

#[tokio::test]
async fn an_orderer_that_stalls_is_left_for_another() {
    check(Script::Stalls, "withholds block 1").await;
}

#[tokio::test]
async fn an_orderer_that_sends_another_channels_blocks_is_left_for_another() {
    check(Script::OtherChannel, "a block of channel \"other\"").await;
}

#[tokio::test]
async fn an_orderer_that_lies_about_numbers_or_bytes_is_left_for_another() {
    check(Script::Skips, "it gave block 2 where 1 was due").await;
    check(Script::Garbage, "its block is none").await;
}

#[tokio::test]
async fn an_orderer_that_refuses_us_says_what_to_look_at() {
    check(Script::Forbids, "Readers or Writers policy").await;
}

#[tokio::test]
async fn a_block_that_is_refused_later_makes_the_next_orderer_the_first() {
    let bench = Bench::with_orderers(3, &[Script::Honest, Script::Honest]).await;
    let source = OrdererSource::new(Arc::new(bench.us(Duration::from_secs(30))));
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let mut stream = source.blocks(&bench.channel, SeqNum::new(1)).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        let record = super::record(&source.record);
        let newest = record.faults.iter().max_by_key(|(_, fault)| fault.last);
        used.insert(newest.unwrap().0.clone());
    }
    assert_eq!(used.len(), 2);
}

#[tokio::test]
async fn the_newest_header_comes_from_whoever_answers() {
    let bench = Bench::with_orderers(4, &[Script::Garbage, Script::Honest]).await;
    let source = OrdererSource::new(Arc::new(bench.us(Duration::from_secs(30))));
    for _ in 0..4 {
        let newest = source.newest(&bench.channel).await.unwrap();
        assert_eq!(newest.number.get(), 3);
    }
}

#[tokio::test]
async fn when_nobody_is_there_every_orderer_is_named_and_the_wait_is_told() {
    let bench = Bench::with_orderers(2, &[]).await;
    let mut us = bench.us(Duration::from_secs(30));
    let source = OrdererSource::new(Arc::new(us.clone()));
    let error = source.blocks(&bench.channel, SeqNum::new(1)).await.err().unwrap();
    assert!(error.to_string().contains("names no endpoint"), "{error}");
    us.settings.connect_timeout = Duration::from_millis(500);
    let dead = Bench::dead(&["127.0.0.1:1", "127.0.0.1:2"]).await;
    us.channels = dead.us(Duration::from_secs(30)).channels;
    let source = OrdererSource::new(Arc::new(us));
    let error = source.blocks(&dead.channel, SeqNum::new(1)).await.err().unwrap();
    let told = error.to_string();
    for word in ["127.0.0.1:1 of OrdererMSP", "127.0.0.1:2 of OrdererMSP", "check that it runs"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let SourceError::Unavailable { retry_after: Some(wait), .. } = error else { panic!("{told}") };
    assert!(wait <= Duration::from_millis(100));
}

#[test]
fn waits_grow_to_the_longest_and_no_two_are_alike() {
    let settings = Settings { retry_max: Duration::from_secs(2), ..Settings::default() };
    let waits: Vec<Duration> = (1..200).map(|misses| backoff(&settings, misses)).collect();
    assert!(waits[0] <= Duration::from_millis(100));
    assert!(waits[198] > Duration::from_millis(1_400));
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(2)));
    let late: std::collections::BTreeSet<_> = waits[100..].iter().collect();
    assert!(late.len() > 10);
}
