//! Orderers that withhold, lie, stall, refuse or are not there, over real TLS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use gossip_api::{BlockSource as _, SeqNum, SourceError};

use super::{OrdererSource, Settings, backoff};
use crate::dev::bench::{Bench, Script};

/// Reads blocks from 1 to `last` as a peer does: opened again after every failure. Gives the failures.
async fn read_all(bench: &Bench, source: &OrdererSource, last: u64) -> Vec<String> {
    read_from(bench, source, 1, last).await
}

async fn read_from(bench: &Bench, source: &OrdererSource, first: u64, last: u64) -> Vec<String> {
    let mut failures = Vec::new();
    let mut next = first;
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

/// Four orderers that may lie, one of them withholding: found out by headers that are streamed, not asked for
/// again and again.
#[tokio::test]
async fn headers_streamed_from_all_others_convict_the_orderer_that_withholds() {
    let scripts = [Script::Withholds(8), Script::Honest, Script::Honest, Script::Honest];
    for _ in 0..24 {
        let bench = Bench::with_doubted_orderers(6, &scripts).await;
        let withheld_max = Duration::from_millis(400);
        let source = OrdererSource::new(Arc::new(bench.us(withheld_max)));
        let mut stream = source.blocks(&bench.channel, SeqNum::new(1)).await.unwrap();
        for number in 1..6 {
            assert_eq!(stream.next().await.unwrap().unwrap().number.get(), number);
        }
        // Several times as long as the time between two polls would be.
        for _ in 0..6 {
            tokio::time::sleep(withheld_max / 2).await;
            bench.grow(1).await;
            if bench.height().await <= 8 {
                stream.next().await.unwrap().unwrap();
            }
        }
        let all_asked = async {
            while bench.seeks().iter().sum::<u64>() < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all_asked).await.expect("four streams");
        let withheld_since = Instant::now();
        let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
        let seeks = bench.seeks();
        assert_eq!(seeks.iter().sum::<u64>(), 4, "one stream from each, no polls: {seeks:?}");
        match next.expect("blocks, or a verdict, in time").unwrap() {
            // An honest one was asked first.
            Ok(block) => assert_eq!(block.number.get(), 8),
            Err(error) => {
                assert!(error.to_string().contains("withholds block 8"), "{error}");
                assert!(withheld_since.elapsed() < withheld_max * 2);
                drop(stream);
                let rest = read_from(&bench, &source, 8, 11).await;
                assert!(rest.is_empty(), "the others have what it kept back: {rest:?}");
                return;
            }
        }
    }
    panic!("the one that withholds was never asked first");
}

#[tokio::test]
async fn headers_that_nobody_signed_convict_nobody() {
    let scripts = [Script::InventsHeaders; 4];
    let bench = Bench::with_doubted_orderers(6, &scripts).await;
    let source = OrdererSource::new(Arc::new(bench.us(Duration::from_millis(100))));
    let mut stream = source.blocks(&bench.channel, SeqNum::new(1)).await.unwrap();
    for number in 1..6 {
        assert_eq!(stream.next().await.unwrap().unwrap().number.get(), number);
    }
    let quiet = tokio::time::timeout(Duration::from_millis(600), stream.next()).await;
    assert!(quiet.is_err(), "convicted by forgeries: {quiet:?}");
    bench.grow(1).await;
    assert_eq!(stream.next().await.unwrap().unwrap().number.get(), 6);
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
