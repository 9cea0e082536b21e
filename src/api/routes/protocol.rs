//! `POST /validate-protocol`: whether the stamps in a text are written as the protocol says, whatever
//! their hashes.

use axum::extract;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::call::{Call, Document, Meter, work};
use crate::api::order::content_required;
use crate::api::problem::Problem;
use crate::api::reply::Reply;
use crate::model::digest::Digest;
use crate::model::onex_text::{self, DETAILS_MAX, Kind, Stamp, Time, Uid};

/// The version that a text is held against where none is named.
const PROTOCOL: &str = "1.0";

/// What was found.
#[derive(Default)]
struct Findings {
    stamps: usize,
    issues: Vec<String>,
    details: Vec<Value>,
}

/// Holds every stamp of a text against the protocol.
pub(in crate::api) async fn validate(
    extract::State(api): extract::State<Api>,
    call: Call,
    meter: Meter,
    document: Document,
) -> Result<Reply, Problem> {
    let Document { mut fields, is_large, _seat } = document;
    let looked = work(is_large, move || {
        let content = content_required(&mut fields)?;
        let target = fields.short_text("target_protocol", 10)?;
        let named = fields.short_text("protocol_version", 10)?;
        let target = target.or(named).unwrap_or_else(|| PROTOCOL.to_owned());
        let mut findings = Findings::default();
        onex_text::each(&content, |stamp| findings.take(stamp, &target));
        Ok::<_, Problem>((content.len() as u64, target, findings))
    });
    let (bytes, target, findings) = looked.await?;
    api.counts.done("validate_protocol", call.started);
    let is_valid = findings.stamps > 0 && findings.issues.is_empty();
    let data = json!({
        "success": true,
        "is_valid": is_valid,
        "protocol_version": target,
        "target_protocol": target,
        "stamps_found": findings.stamps,
        "validation_details": findings.details,
        "issues": findings.issues,
        "recommendations": findings.recommendations(),
        "performance_metrics": meter.performance(bytes),
    });
    let message = if is_valid { "valid" } else { "not valid" };
    Ok(Reply::new(message, data).flat("is_valid", is_valid).to(call.correlation_id))
}

impl Findings {
    fn take(&mut self, stamp: &Stamp<'_>, target: &str) {
        self.stamps += 1;
        if self.stamps > DETAILS_MAX {
            return;
        }
        let issues = issues_of(stamp, target);
        self.details.push(json!({
            "stamp_type": stamp.kind().as_str(),
            "stamp_hash": stamp.field("hash"),
            "uid": stamp.field("uid"),
            "is_valid": issues.is_empty(),
            "issues": issues,
        }));
        let position = self.stamps;
        self.issues.extend(issues.into_iter().map(|issue| format!("stamp {position}: {issue}")));
    }

    fn recommendations(&self) -> &[&str] {
        match (self.stamps, self.issues.is_empty()) {
            (0, _) => &["stamp the content first"],
            (_, true) => &[],
            (_, false) => &["stamp the content again"],
        }
    }
}

fn issues_of(stamp: &Stamp<'_>, target: &str) -> Vec<String> {
    let mut issues = Vec::new();
    if stamp.field("uid").is_none_or(|uid| Uid::new(uid).is_none()) {
        issues.push("it has no well-formed uid".to_owned());
    }
    if stamp.field("hash").is_none_or(|hash| hash.parse::<Digest>().is_err()) {
        issues.push("its hash is not 64 hexadecimal digits".to_owned());
    }
    if stamp.field("timestamp").is_none_or(|time| Time::new(time).is_none()) {
        issues.push("it has no well-formed timestamp".to_owned());
    }
    // A lightweight stamp says no version and is of every one.
    if stamp.kind() == Kind::Rich {
        match stamp.field("protocol_version") {
            Some(version) if version == target => {}
            Some(version) => {
                issues.push(format!("its protocol_version is {version}, not {target}"));
            }
            None => issues.push("it has no protocol_version".to_owned()),
        }
    }
    issues
}
