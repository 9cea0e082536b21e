//! Changing the config file: a `[[repo]]` more or less, and every other byte as its owner wrote it.
//!
//! Pure functions over the text. Whoever uses them loads the result before putting it in place, so an
//! edit that would not mean what it should is never written.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use super::value::Value;
use crate::model::repo_config::RepoConfig;

/// The text with one more `[[repo]]`, at its end.
pub fn with_repo(text: &str, repo: &RepoConfig) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let gap = if text.is_empty() { "" } else { "\n" };
    let literal = |text: &str| Value::Text(text.to_owned()).to_string();
    let (path, name) = (Value::Path(repo.path.clone()), literal(&repo.name));
    let namespace = literal(repo.namespace.as_str());
    let section = format!("[[repo]]\npath = {path}\nname = {name}\nnamespace = {namespace}");
    writeln!(text, "{gap}{section}").expect("writing into a String cannot fail");
    text
}

/// The text without its `[[repo]]` number `index`, counted from 0, and without the comment right above
/// it. `None` when it is not written as a section of its own.
pub fn without_repo(text: &str, index: usize) -> Option<String> {
    let mut headers = headers(text)?;
    let DeValue::Array(repos) = DeTable::parse(text).ok()?.get_ref().get("repo")?.get_ref().clone()
    else {
        return None;
    };
    let header = line_start(text, repos.get(index)?.span().start);
    headers.retain(|other| *other > header);
    if !text[header..].trim_start().starts_with("[[") {
        return None;
    }
    let end = headers.first().map_or(text.len(), |next| with_comment(text, *next));
    let start = with_comment(text, header);
    let (before, after) = (&text[..start], &text[end..]);
    // One empty line between what is left, as there was on either side.
    let before = if after.is_empty() { before.trim_end_matches('\n') } else { before };
    let ending = if after.is_empty() && !before.is_empty() { "\n" } else { "" };
    Some([before, ending, after].concat())
}

/// Where the lines of all section headers begin, in order.
fn headers(text: &str) -> Option<Vec<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut starts = Vec::new();
    for (name, value) in root.get_ref() {
        match value.get_ref() {
            DeValue::Array(items) => starts.extend(items.iter().map(|item| item.span().start)),
            _ => starts.push(name.span().start),
        }
    }
    let mut headers: Vec<usize> = starts.into_iter().map(|at| line_start(text, at)).collect();
    headers.sort_unstable();
    Some(headers)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the block of comment lines right above a header begins.
fn with_comment(text: &str, header: usize) -> usize {
    let mut start = header;
    while start > 0 {
        let above = line_start(text, start - 1);
        if !text[above..start].trim_start().starts_with('#') {
            break;
        }
        start = above;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Mine. Do not touch.

[agent] # here
state_dir = \"/s\"

# the app
# of apps
[[repo]]
path = \"/src/app\" # never moved
namespace = \"a.b.c\"

# [[repo]] was here
# and this is about Kafka
[kafka]
brokers = [\"k:9092\"]

  [[repo]]
  path = '/src/lib'
  namespace = \"\"\"a.b.c\"\"\"
  exclude = [\"\"\"
[[repo]]
\"\"\"]
";

    #[test]
    fn a_section_goes_with_the_comment_right_above_it_and_nothing_else_changes() {
        let cut = |text: &str, from: &str, to: &str| {
            let (start, end) = (text.find(from).unwrap(), text.find(to).unwrap_or(text.len()));
            [&text[..start], &text[end..]].concat()
        };
        assert_eq!(without_repo(TEXT, 0).unwrap(), cut(TEXT, "# the app", "# [[repo]] was"));
        assert_eq!(without_repo(TEXT, 1).unwrap(), cut(TEXT, "\n  [[repo]]", "nowhere"));
        assert_eq!(without_repo(TEXT, 2), None);
        assert_eq!(without_repo("repo = [{ path = \"/a\" }]\n", 0), None);
        assert_eq!(without_repo("[[repo]]\npath = \"/a\"", 0).unwrap(), "");
    }

    #[test]
    fn what_is_added_and_removed_again_leaves_no_trace() {
        let repo = RepoConfig {
            name: "a \"b\"".to_owned(),
            path: "/src/a \\ \"b\"".into(),
            namespace: "a.b.c".parse().unwrap(),
            exclude: Vec::new(),
            include: Vec::new(),
            max_file_size: None,
        };
        for text in ["", TEXT] {
            let more = with_repo(text, &repo);
            assert!(more.starts_with(text));
            let index = text.matches("\npath").count() + text.matches("\n  path").count();
            assert_eq!(without_repo(&more, index).unwrap(), text);
            let table: toml::Table = more.parse().unwrap();
            let last = table["repo"].as_array().unwrap().last().unwrap();
            assert_eq!(last["path"].as_str(), repo.path.to_str());
            assert_eq!(last["name"].as_str(), Some(&*repo.name));
        }
    }
}
