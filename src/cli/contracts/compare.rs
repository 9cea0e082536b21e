//! What two documents say differently, member by member, prose aside.

use serde_json::Value;

use super::Difference;
use crate::config::suggestion;

/// Members that are for people.
const PROSE: [&str; 7] =
    ["$comment", "description", "example", "examples", "info", "summary", "title"];

/// Members of a document that are its installation's own.
const OWN: [(&str, &str); 3] = [
    ("asyncapi.yaml", "parameters"),
    ("onextree.openapi.yaml", "servers"),
    ("openapi.yaml", "servers"),
];

/// How what is `told` in `file` differs from what is `expected`.
pub(super) fn differences(file: &str, expected: &Value, told: &Value) -> Vec<Difference> {
    let mut comparison = Comparison { file, found: Vec::new() };
    comparison.compare(&[], expected, told);
    comparison.found
}

struct Comparison<'a> {
    file: &'a str,
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn add(&mut self, path: &[&str], text: String) {
        let (file, field) = (self.file.to_owned(), path.join("."));
        self.found.push(Difference { file, line: None, field, text });
    }

    fn compare(&mut self, path: &[&str], expected: &Value, told: &Value) {
        match (expected, told) {
            (Value::Object(_), Value::Object(_)) => self.compare_members(path, expected, told),
            (Value::Array(expected), Value::Array(told)) => {
                self.compare_lists(path, expected, told);
            }
            _ if same(expected, told) => {}
            _ => self.add(path, format!("says {}, the program {}", brief(told), brief(expected))),
        }
    }

    fn compare_members(&mut self, path: &[&str], expected: &Value, told: &Value) {
        let (Some(expected), Some(told)) = (expected.as_object(), told.as_object()) else { return };
        let file = self.file;
        for (name, value) in expected.iter().filter(|(name, _)| !is_prose(file, path, name)) {
            let path = [path, &[name]].concat();
            match told.get(name) {
                Some(told) => self.compare(&path, value, told),
                None => self.add(&path, format!("is missing: the program has {}", brief(value))),
            }
        }
        for name in told.keys().filter(|name| !expected.contains_key(*name)) {
            if !is_prose(file, path, name) && !name.starts_with("x-") {
                let known = suggestion(name, expected.keys().map(String::as_str));
                self.add(&[path, &[name]].concat(), format!("is unknown to the program: {known}"));
            }
        }
    }

    /// Lists of words are sets; in others each has its place.
    fn compare_lists(&mut self, path: &[&str], expected: &[Value], told: &[Value]) {
        let is_set = expected.iter().chain(told).all(|item| !item.is_object() && !item.is_array());
        if is_set {
            let lacks = |list: &[Value], item: &Value| !list.iter().any(|other| same(other, item));
            for item in expected.iter().filter(|item| lacks(told, item)) {
                self.add(path, format!("lacks {}, which the program has", brief(item)));
            }
            for item in told.iter().filter(|item| lacks(expected, item)) {
                let known = suggestion(&word(item), expected.iter().filter_map(Value::as_str));
                let text = format!("names {}, which the program has not: {known}", brief(item));
                self.add(path, text);
            }
            return;
        }
        if expected.len() != told.len() {
            let text = format!("has {} entries, the program {}", told.len(), expected.len());
            return self.add(path, text);
        }
        for (index, (expected, told)) in expected.iter().zip(told).enumerate() {
            self.compare(&[path, &[&index.to_string()]].concat(), expected, told);
        }
    }
}

/// Whether a member is somebody's own word. The names of properties are no prose.
fn is_prose(file: &str, path: &[&str], name: &str) -> bool {
    let is_name = path.last().is_some_and(|parent| *parent == "properties");
    !is_name && (PROSE.contains(&name) || OWN.contains(&(file, name)))
}

/// Whether two values say the same; 1 and 1.0 do.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|number| Some(number) == b.as_f64())
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value in a few words.
fn brief(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    text.chars().take(CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(expected: &Value, told: &Value, differences: &[&str]) {
        let found: Vec<String> = super::differences("a.yaml", expected, told)
            .into_iter()
            .map(|difference| format!("{}: {}", difference.field, difference.text))
            .collect();
        assert_eq!(found, differences);
    }

    #[test]
    fn what_says_the_same_does_not_differ() {
        check(
            &json!({"a": 1.0, "list": ["x", "y"], "description": "ours"}),
            &json!({"a": 1, "list": ["y", "x"], "title": "theirs", "x-owner": "me"}),
            &[],
        );
    }

    #[test]
    fn each_difference_is_named_by_its_members() {
        check(
            &json!({"retry": {"max": 3, "first_ms": 200}}),
            &json!({"retry": {"max": 4, "frist_ms": 200}}),
            &[
                "retry.first_ms: is missing: the program has 200",
                "retry.max: says 4, the program 3",
                "retry.frist_ms: is unknown to the program: did you mean first_ms?",
            ],
        );
        check(&json!({}), &json!(null), &[": says null, the program {}"]);
    }

    #[test]
    fn a_list_of_words_says_what_it_lacks_and_what_is_too_much() {
        check(
            &json!({"ops": ["persist", "answer"]}),
            &json!({"ops": ["persit", "answer"]}),
            &[
                "ops: lacks \"persist\", which the program has",
                "ops: names \"persit\", which the program has not: did you mean persist?",
            ],
        );
        check(&json!([{"a": 1}]), &json!([{"a": 2}]), &["0.a: says 2, the program 1"]);
        check(&json!([{"a": 1}]), &json!([]), &[": has 0 entries, the program 1"]);
    }

    #[test]
    fn a_property_that_is_called_like_prose_counts() {
        check(
            &json!({"properties": {"title": {"maxLength": 9}}}),
            &json!({"properties": {}}),
            &["properties.title: is missing: the program has {\"maxLength\":9}"],
        );
    }
}
