//! `[[repo]]`: the working trees to watch.

use std::collections::BTreeMap;
use std::path::Path;

use super::problem::Problem;
use super::table::Table;
use crate::model::path::write_escaped;
use crate::model::repo_config::RepoConfig;
use crate::watch::filter;

/// Maps a repo whose required keys are there.
pub(super) fn repo(table: &Table) -> Option<RepoConfig> {
    let path = table.path("path")?.to_owned();
    Some(RepoConfig {
        name: name(table),
        path,
        namespace: table.namespace("namespace")?.clone(),
        exclude: table.texts("exclude"),
        include: table.texts("include"),
        max_file_size: table.size_if_set("max_file_size"),
    })
}

/// The name that was set, or else the directory's.
fn name(table: &Table) -> String {
    if let Some(name) = table.text("name") {
        return name.to_owned();
    }
    let directory = table.path("path").and_then(Path::file_name).unwrap_or_default();
    let mut name = String::new();
    write_escaped(&mut name, directory.as_encoded_bytes())
        .expect("writing into a String cannot fail");
    if name.is_empty() { "root".to_owned() } else { name }
}

/// Checks what repos must not have in common, and their names.
pub(super) fn check(tables: &[Table]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (mut names, mut paths) = (BTreeMap::new(), BTreeMap::new());
    for table in tables {
        problems.extend(["exclude", "include"].iter().flat_map(|key| check_patterns(table, key)));
        let name = name(table);
        if name.is_empty() || name.len() > 255 || name.contains(char::is_control) {
            let text = "[repo] name: write 1 to 255 bytes without control characters";
            problems.push(Problem::new(&table.origin("name"), text));
        }
        if let Some(first) = names.insert(name.clone(), table.origin("path")) {
            let text = format!(
                "[repo] name: {name:?} is taken by the repo at {first}; set another name = \"…\""
            );
            problems.push(Problem::new(&table.origin("name"), text));
        }
        let Some(path) = table.path("path") else { continue };
        if let Some(first) = paths.insert(path.to_owned(), table.origin("path")) {
            let text = format!("[repo] path: {} stands already at {first}", path.display());
            problems.push(Problem::new(&table.origin("path"), text));
        }
    }
    problems
}

fn check_patterns(table: &Table, key: &str) -> Vec<Problem> {
    let wrong = table.texts(key).into_iter().filter_map(|pattern| {
        let wrong = filter::check_pattern(&pattern).err()?;
        Some(Problem::new(
            &table.origin(key),
            format!("[repo] {key}: pattern {pattern:?}: {wrong}"),
        ))
    });
    wrong.collect()
}

/// Looks at the disk: a root that is a file can never be watched. One that is missing may come back,
/// and a link may be a directory again, so they are problems only for whoever asks whether the
/// config is right.
pub(super) fn check_places(tables: &[Table], missing_too: bool) -> Vec<Problem> {
    let place = |table: &Table| {
        let path = table.path("path")?;
        if let Ok(target) = std::fs::read_link(path) {
            let text = format!("{} is a symbolic link to {}", path.display(), target.display());
            let text = format!("[repo] path: {text}, and none is followed: name the directory");
            return missing_too.then(|| Problem::new(&table.origin("path"), text));
        }
        let text = match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return None,
            Ok(_) => format!("{} is not a directory: name the directory to watch", path.display()),
            Err(_) if !missing_too => return None,
            Err(error) => format!("{}: {error}; make it, or take the repo out", path.display()),
        };
        Some(Problem::new(&table.origin("path"), format!("[repo] path: {text}")))
    };
    tables.iter().filter_map(place).collect()
}
