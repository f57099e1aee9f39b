//! The rows of the table.

use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use bytes::Bytes;
use ed25519_dalek::{Verifier as _, VerifyingKey};
use gossip_api::{ChannelId, MessageCryptoService as _};
use peer_mcs::Mcs;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Serialize;
use sha2::Digest as _;

use super::Args;
use super::blocks::{Attestation, Chain, Form};
use super::race::{Pace, race};
use super::signers::{PEER0_ORG1, PEER0_ORG2, Signer, certificate, fixture, joined};

/// One line of the table.
#[derive(Serialize)]
struct Row {
    what: &'static str,
    /// Of the message, the block's data or the identity.
    bytes: usize,
    /// Signatures on the block.
    #[serde(skip_serializing_if = "Option::is_none")]
    signers: Option<usize>,
    /// Whose identity: of our own organisation, or known through a channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'static str>,
    per_cpu_s: f64,
    beside: &'static str,
    beside_per_cpu_s: f64,
}

#[derive(Serialize)]
struct Report {
    rows: Vec<Row>,
}

/// Measures everything and prints it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    let mut push = |row: Row| {
        if !args.json {
            println!("{}", line(&row));
        }
        rows.push(row);
    };
    let own = Signer::node(PEER0_ORG1, "Org1MSP")?;
    let other = Signer::node(PEER0_ORG2, "Org2MSP")?;
    let judge = Mcs::new(own.local().clone(), joined("trade")?);
    push(verify_p256(args.rounds, &judge, &own, OWN)?);
    push(verify_p256(args.rounds, &judge, &other, CHANNEL)?);
    push(verify_ed25519(args.rounds, &judge)?);
    for cached in [false, true] {
        push(validate_identity(args.rounds, &judge, &own, "org1.test", OWN, cached)?);
        push(validate_identity(args.rounds, &judge, &other, "org2.test", CHANNEL, cached)?);
    }
    for (channel, form, signers) in [("trade", Form::Creator, 1), ("bft", Form::Number, 3)] {
        let judge = Mcs::new(own.local().clone(), joined(channel)?);
        for size in [1 << 10, 160 << 10, 1 << 20] {
            push(verify_block(args.rounds, &judge, channel, form, signers, size)?);
        }
    }
    for size in [256, 160 << 10, 1 << 20] {
        for (beside, theirs) in [("aws-lc-rs", by_aws_lc as Hash), ("sha2", by_sha2)] {
            push(sha256(args.rounds, size, beside, theirs)?);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string(&Report { rows })?);
    }
    Ok(())
}

fn line(row: &Row) -> String {
    let signers = row.signers.map(|count| format!("{count} signers")).unwrap_or_default();
    format!(
        "{:<26}{:>8} B {:<18}{:>11.0}/s  {:<14}{:>11.0}/s  {:.2}",
        row.what,
        row.bytes,
        row.of.unwrap_or(&signers),
        row.per_cpu_s,
        row.beside,
        row.beside_per_cpu_s,
        row.per_cpu_s / row.beside_per_cpu_s
    )
}

impl Row {
    fn new(what: &'static str, bytes: usize, beside: &'static str, pace: Pace) -> Self {
        Self {
            what,
            bytes,
            signers: None,
            of: None,
            per_cpu_s: pace.ours.round(),
            beside,
            beside_per_cpu_s: pace.theirs.round(),
        }
    }
}

/// A stream of signed messages, each another.
fn messages(signer: &Signer) -> impl FnMut() -> Result<(Vec<u8>, Bytes)> {
    let mut count = 0u64;
    move || {
        count += 1;
        let mut message = count.to_le_bytes().to_vec();
        message.resize(MESSAGE, 0x5a);
        let signature = signer.sign(&message)?;
        Ok((message, signature))
    }
}

fn verify_p256(rounds: u32, judge: &Mcs, signer: &Signer, of: &'static str) -> Result<Row> {
    let identity = signer.identity();
    let key = p256_key(signer)?;
    let pace = race(
        rounds,
        messages(signer),
        |(message, signature)| judge.verify(identity, signature, message).is_ok(),
        |(message, signature)| key.verify_sig(message, signature).is_ok(),
    )?;
    Ok(Row { of: Some(of), ..Row::new("verify_p256", MESSAGE, "aws-lc-rs", pace) })
}

fn verify_ed25519(rounds: u32, judge: &Mcs) -> Result<Row> {
    let signer = Signer::ed25519()?;
    let identity = signer.identity();
    let key = VerifyingKey::from_bytes(&signer.public_key()?)?;
    let pace = race(
        rounds,
        messages(&signer),
        |(message, signature)| judge.verify(identity, signature, message).is_ok(),
        |(message, signature)| {
            let signature = ed25519_dalek::Signature::from_slice(signature);
            signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
        },
    )?;
    Ok(Row { of: Some(OWN), ..Row::new("verify_ed25519", MESSAGE, "ed25519-dalek", pace) })
}

/// Beside a library that verifies the chain each time, since none remembers.
fn validate_identity(
    rounds: u32,
    judge: &Mcs,
    signer: &Signer,
    org: &str,
    of: &'static str,
    cached: bool,
) -> Result<Row> {
    let ca =
        format!("crypto/peerOrganizations/{org}/peers/peer0.{org}/msp/cacerts/ca.{org}-cert.pem");
    let ca = certificate(&fixture(&ca))?;
    let anchor = webpki::anchor_from_trusted_cert(&ca)?;
    let pace = race(
        rounds,
        || Ok(()),
        |()| {
            if !cached {
                judge.local().forget_cached();
                judge.channels().forget_cached();
            }
            judge.validate_identity(signer.identity()).is_ok()
        },
        |()| is_issued(&signer.certificate, &anchor),
    )?;
    let what = if cached { "validate_identity_cached" } else { "validate_identity_cold" };
    let bytes = signer.identity().as_bytes().len();
    Ok(Row { of: Some(of), ..Row::new(what, bytes, "rustls-webpki", pace) })
}

fn is_issued(certificate: &CertificateDer<'_>, anchor: &TrustAnchor<'_>) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return false };
    certificate
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            std::slice::from_ref(anchor),
            &[],
            UnixTime::since_unix_epoch(IN_2027),
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )
        .is_ok()
}

/// Beside the least that has to be done: hash the data, verify as many signatures.
fn verify_block(
    rounds: u32,
    judge: &Mcs,
    channel: &str,
    form: Form,
    signers: usize,
    size: usize,
) -> Result<Row> {
    let channel = ChannelId::new(channel)?;
    let orderers = (1..=signers).map(orderer).collect::<Result<Vec<_>>>()?;
    let keys = orderers.iter().map(p256_key).collect::<Result<Vec<_>>>()?;
    let mut chain = Chain::new(&channel, size, form, &orderers);
    let bytes = chain.data_len();
    let pace = race(
        rounds,
        || chain.seal(),
        |(block, _)| judge.verify_block(&channel, block.number, block).is_ok(),
        |(block, attestations)| {
            by_aws_lc(&block.data);
            keys.iter().zip(attestations).all(|(key, Attestation { signed, signature })| {
                key.verify_sig(signed, signature).is_ok()
            })
        },
    )?;
    Ok(Row { signers: Some(signers), ..Row::new("verify_block", bytes, "aws-lc-rs", pace) })
}

fn orderer(number: usize) -> Result<Signer> {
    let dir =
        format!("ordererOrganizations/orderer.test/orderers/orderer{number}.orderer.test/msp");
    Signer::node(&dir, "OrdererMSP")
}

fn sha256(rounds: u32, size: usize, beside: &'static str, theirs: Hash) -> Result<Row> {
    let bytes = Bytes::from(vec![0x5a; size]);
    let expected = by_sha2(&bytes);
    let pace = race(
        rounds,
        || Ok(bytes.clone()),
        |bytes| peer_mcs::sha256(bytes) == expected,
        |bytes| theirs(bytes) == expected,
    )?;
    Ok(Row::new("sha256", size, beside, pace))
}

type Hash = fn(&[u8]) -> [u8; 32];

fn by_aws_lc(bytes: &[u8]) -> [u8; 32] {
    digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

fn by_sha2(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

fn p256_key(signer: &Signer) -> Result<ParsedPublicKey> {
    let point: [u8; 65] = signer.public_key()?;
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|error| anyhow!("{error}"))
}

/// An identity of the organisation of the peer that judges.
const OWN: &str = "own organisation";
/// An identity that only a channel's configuration makes known.
const CHANNEL: &str = "channel";
/// Bytes of a signed message: about those of a record.
const MESSAGE: usize = 256;
/// The fixtures' certificates are valid from November 2026 for ten years.
const IN_2027: Duration = Duration::from_secs(1_800_000_000);
