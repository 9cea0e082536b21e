//! What has to be true of stamps in any text.

use stampd::model::digest::Digest;
use stampd::model::onex_text::{
    DETAILS_MAX, Kind, Label, Rules, Time, Uid, canonical, check, digest, each, held, stamp, strip,
};
use stampd::runtime::time::Timestamp;

/// Panics where a law is broken.
pub fn hold(text: &str) {
    let (bare, hash) = (strip(text), digest(text));
    let found = check(text, Rules::default());
    let strict = check(text, Rules { strict: true, expected_hash: None });
    let mut count = 0;
    each(text, |stamp| {
        count += 1;
        assert!(text.contains("ONEX") && stamp.as_str().contains("ONEX"));
    });
    assert_eq!((found.found, strict.found), (count, count));
    assert_eq!(found.details.len(), count.min(DETAILS_MAX));
    assert_eq!(count == 0, bare == text, "exactly stamps are removed");
    assert_eq!((found.current_hash, strict.current_hash), (hash, Digest::of(bare.as_bytes())));
    assert_eq!(hash, Digest::of(canonical(text).as_bytes()));
    for kind in [Kind::Lightweight, Kind::Rich] {
        takes(text, kind);
    }
}

/// The text itself serves as every word that a caller may choose.
fn takes(text: &str, kind: Kind) {
    let time = Time::from(Timestamp::from_nanos(0));
    let uid = Uid::new(text).unwrap_or_else(|| Uid::new("u").expect("it is well-formed"));
    let label = Label {
        author: Some(text),
        version: Some(text),
        protocol_version: text,
        file_path: Some(text),
        content_type: Some(text),
        ..Label::new(uid, time)
    };
    let plain = stamp("plain", kind, &label).expect("words of callers spoil no stamp");
    assert_eq!(strip(&plain.text), "plain");
    let Ok(stamped) = stamp(text, kind, &label) else {
        assert!(text.contains("ONEX"), "a text without parts of stamps takes one");
        return;
    };
    assert!(check(&stamped.text, Rules::default()).holds);
    assert_eq!(digest(&stamped.text), digest(text));
    assert_eq!(strip(&stamped.text), strip(text), "it comes off without a trace");
    assert_eq!(held(&stamped.text, kind), Some(stamped));
}
