//! `POST /validate-protocol`: whether the stamps in a text are written as the protocol says, whatever
//! their hashes.
//!
//! Request and reply are those of the published service. What it looked for in the text, it never
//! wrote itself, so that nothing complied; here a text complies whose stamps any reader can read.

use axum::extract;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::call::{Call, Document, Meter, work};
use crate::api::fields::Fields;
use crate::api::order::content_required;
use crate::api::problem::Problem;
use crate::api::reply::Reply;
use crate::model::digest::Digest;
use crate::model::onex_text::{self, DETAILS_MAX, Kind, Stamp, Time, Uid};

/// The protocol that a text is held against where none is named.
const PROTOCOL: &str = "O.N.E.v0.1";

/// What stamps of that protocol say of its version.
const VERSION: &str = "1.0";

/// Characters of a protocol's name.
const PROTOCOL_CHARS_MAX: usize = 64;

/// What a caller wants to know.
struct Question {
    content: String,
    namespace: Option<String>,
    target: String,
    level: Level,
}

/// How much counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Everything.
    Strict,
    /// That each stamp says what it is a stamp of; the rest is advice.
    Moderate,
    /// That one of them does.
    Lenient,
}

/// What was found.
#[derive(Default)]
struct Findings {
    stamps: usize,
    /// How many have nothing against them.
    good: usize,
    /// What the stamps say of the protocol's version.
    version: Option<String>,
    issues: Vec<String>,
    recommendations: Vec<String>,
    details: Vec<Value>,
}

/// What is wrong with a stamp.
struct Flaw {
    /// Whether it leaves open what the stamp is of.
    is_grave: bool,
    words: String,
}

/// Holds every stamp of a text against the protocol.
pub(in crate::api) async fn validate(
    extract::State(api): extract::State<Api>,
    call: Call,
    meter: Meter,
    document: Document,
) -> Result<Reply, Problem> {
    let Document { fields, is_large, _seat, .. } = document;
    let looked = work(is_large, move || {
        let question = Question::take(fields)?;
        let mut findings = Findings::default();
        onex_text::each(&question.content, |stamp| findings.take(stamp, &question));
        findings.conclude(question.level);
        Ok::<_, Problem>((question, findings))
    });
    let (question, findings) = looked.await?;
    api.counts.done("validate_protocol", call.started);
    let is_valid = findings.issues.is_empty();
    let mut data = findings.to_result();
    data["validation_result"] = data.clone();
    data["success"] = true.into();
    data["target_protocol"] = question.target.as_str().into();
    data["stamps_found"] = findings.stamps.into();
    data["validation_details"] = findings.details.into();
    data["performance_metrics"] = json!(meter.performance(question.content.len() as u64));
    let reply = Reply::new(if is_valid { "valid" } else { "not valid" }, data)
        .flat("is_valid", is_valid)
        .noting("operation", "validate_protocol")
        .noting("namespace", question.namespace)
        .noting("target_protocol", question.target)
        .noting("validation_level", question.level.as_str());
    Ok(reply.to(call.correlation_id))
}

impl Question {
    fn take(mut fields: Fields) -> Result<Self, Problem> {
        let content = content_required(&mut fields)?;
        let named = fields.short_text("target_protocol", PROTOCOL_CHARS_MAX)?;
        let version = fields.short_text("protocol_version", PROTOCOL_CHARS_MAX)?;
        let level = fields.text("validation_level")?;
        Ok(Self {
            content,
            namespace: fields.namespace_word("namespace")?,
            target: named.or(version).unwrap_or_else(|| PROTOCOL.to_owned()),
            level: level.as_deref().map_or(Ok(Level::Strict), Level::of)?,
        })
    }

    /// What stamps have to say of the protocol's version: a target with a name of its own is the
    /// protocol as published.
    fn version(&self) -> &str {
        if self.target.starts_with("O.N.E.") { VERSION } else { &self.target }
    }
}

impl Level {
    fn of(word: &str) -> Result<Self, Problem> {
        match word {
            "strict" => Ok(Self::Strict),
            // Two words for it were published.
            "moderate" | "standard" => Ok(Self::Moderate),
            "lenient" => Ok(Self::Lenient),
            _ => {
                let rule = "must be \"strict\", \"moderate\" or \"lenient\"";
                Err(Problem::field("validation_level", rule))
            }
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Moderate => "moderate",
            Self::Lenient => "lenient",
        }
    }
}

impl Findings {
    fn take(&mut self, stamp: &Stamp<'_>, question: &Question) {
        self.stamps += 1;
        if self.stamps > DETAILS_MAX {
            return;
        }
        if self.version.is_none() {
            self.version = stamp.field("protocol_version").map(str::to_owned);
        }
        let flaws = flaws_of(stamp, question.version());
        let counts = |flaw: &Flaw| flaw.is_grave || question.level == Level::Strict;
        let is_good = !flaws.iter().any(counts);
        self.good += usize::from(is_good);
        let words: Vec<&str> = flaws.iter().map(|flaw| flaw.words.as_str()).collect();
        self.details.push(json!({
            "stamp_type": stamp.kind().as_str(),
            "stamp_hash": stamp.field("hash"),
            "uid": stamp.field("uid"),
            "is_valid": is_good,
            "issues": words,
        }));
        for flaw in &flaws {
            let words = format!("stamp {}: {}", self.stamps, flaw.words);
            if counts(flaw) { self.issues.push(words) } else { self.recommendations.push(words) }
        }
    }

    /// Weighs what was found in all.
    fn conclude(&mut self, level: Level) {
        if level == Level::Lenient && self.good > 0 {
            self.recommendations.append(&mut self.issues);
        }
        if self.stamps == 0 {
            self.issues.push("the content has no stamp".to_owned());
            self.recommendations.push("stamp the content first".to_owned());
        } else if !self.issues.is_empty() {
            self.recommendations.push("stamp the content again".to_owned());
        }
    }

    fn to_result(&self) -> Value {
        let level = match (self.issues.is_empty(), self.good) {
            (true, _) => "full",
            (false, 1..) => "partial",
            (false, 0) => "none",
        };
        json!({
            "is_valid": self.issues.is_empty(),
            // A lightweight stamp says no version and is of every one.
            "protocol_version": self.version.as_deref().unwrap_or(VERSION),
            "compliance_level": level,
            "issues": self.issues,
            "recommendations": self.recommendations,
        })
    }
}

fn flaws_of(stamp: &Stamp<'_>, version: &str) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut note = |is_grave, words: String| flaws.push(Flaw { is_grave, words });
    if stamp.field("hash").is_none_or(|hash| hash.parse::<Digest>().is_err()) {
        note(true, "its hash is not 64 hexadecimal digits".to_owned());
    }
    if stamp.field("uid").is_none_or(|uid| Uid::new(uid).is_none()) {
        note(false, "it has no well-formed uid".to_owned());
    }
    if stamp.field("timestamp").is_none_or(|time| Time::new(time).is_none()) {
        note(false, "it has no well-formed timestamp".to_owned());
    }
    if stamp.kind() == Kind::Rich {
        match stamp.field("protocol_version") {
            Some(said) if said == version => {}
            Some(said) => note(false, format!("its protocol_version is {said}, not {version}")),
            None => note(false, "it has no protocol_version".to_owned()),
        }
    }
    flaws
}
