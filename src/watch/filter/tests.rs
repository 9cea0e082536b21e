//! The matcher, judged by its verdicts; `tests/it/ignore.rs` compares it with git itself.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).expect("a test path is well-formed")
}

fn patterns(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

fn tracked(paths: &[&str]) -> Tracked {
    paths.iter().collect()
}

fn with_dir(filter: &mut Filter, dir: &str, text: &str) {
    let rules = DirRules::parse(&path(dir), &[(b".gitignore", text.as_bytes())]);
    filter.set_dir(&path(dir), rules);
}

/// One line per path, a trailing `/` marking a directory: the path and the verdict.
fn check(filter: &Filter, expected: &[(&str, &str)]) {
    for &(text, verdict) in expected {
        let (text, is_dir) = text.strip_suffix('/').map_or((text, false), |text| (text, true));
        assert_eq!(filter.ignored(&path(text), is_dir).to_string(), verdict, "{text}");
    }
}

/// A name of letters that patterns give a meaning to, and of some that they do not.
fn name() -> impl Strategy<Value = String> {
    let letters = vec![
        'a', 'b', '\\', '*', '?', '[', ']', '{', '}', '!', '#', ' ', '-', '^', 'é', '\n', '\r',
    ];
    vec(select(letters), 1..4).prop_map(String::from_iter)
}

proptest! {
    /// Repos inside others and our own directories are left out by such patterns.
    #[test]
    fn a_literal_pattern_means_its_directory_and_nothing_else(
        dir in vec(name(), 1..4),
        kept in 0..5_usize,
        more in vec(name(), 0..3),
        is_dir in any::<bool>(),
    ) {
        let other: Vec<&String> = dir.iter().take(kept).chain(&more).collect();
        prop_assume!(!other.is_empty());
        let pattern = literal(&dir.join("/")).expect("it is not the root");
        let exclude = vec![pattern.clone()];
        let filter = Filter::new(&Config { exclude, ..Config::default() }, Tracked::default());
        let is_below = other.len() > dir.len() || (other.len() == dir.len() && is_dir);
        let is_meant = is_below && other.iter().zip(&dir).all(|(a, b)| *a == b);
        let other = other.into_iter().cloned().collect::<Vec<_>>().join("/");
        let verdict = filter.ignored(&path(&other), is_dir);
        prop_assert_eq!(verdict.is_visible(), !is_meant, "{} of {:?} for {:?}", verdict, pattern, other);
    }
}

/// The matcher's crate took such a backslash for the escape of the slash, and the rule for another.
#[test]
fn a_name_may_end_in_a_backslash() {
    let mut filter = Filter::default();
    with_dir(&mut filter, "", "a\\\\/\nb/c\\\\/\n");
    check(
        &filter,
        &[
            ("a\\/", "ignored by a\\\\\\\\/ (.gitignore, line 1)"),
            ("a/", VISIBLE),
            ("b/c\\/d", "ignored by b/c\\\\\\\\/ (.gitignore, line 2)"),
            ("b/c\\", VISIBLE),
        ],
    );
}

const VISIBLE: &str = "visible: no rule speaks of it";

#[test]
fn a_verdict_names_the_rule_its_file_and_its_line() {
    let mut filter = Filter::default();
    with_dir(&mut filter, "", "# built\n*.o\ntarget/\n");
    with_dir(&mut filter, "src", "!keep.o\r\n");
    check(
        &filter,
        &[
            ("a.o", "ignored by *.o (.gitignore, line 2)"),
            ("src/b.o", "ignored by *.o (.gitignore, line 2)"),
            ("src/keep.o", "visible: re-included by !keep.o (src/.gitignore, line 1)"),
            ("target/", "ignored by target/ (.gitignore, line 3)"),
            ("target", VISIBLE),
            ("target/debug/app", "ignored by target/ (.gitignore, line 3)"),
            ("src/main.rs", VISIBLE),
            (".git/", "never: git's own files"),
            (".git/config", "never: git's own files"),
            ("vendor/.git", "never: git's own files"),
        ],
    );
}

#[test]
fn the_users_exclude_is_stronger_than_git_and_every_include() {
    let config = Config {
        exclude: patterns(&["secret/", "*.key", "!public.key"]),
        include: patterns(&["secret/", "*.key"]),
        ..Config::default()
    };
    let filter = Filter::new(&config, tracked(&["secret/plan.txt", "deploy.key", "public.key"]));
    check(
        &filter,
        &[
            ("secret/", "ignored by secret/ (exclude of your config, line 1)"),
            ("secret/plan.txt", "ignored by secret/ (exclude of your config, line 1)"),
            ("deploy.key", "ignored by *.key (exclude of your config, line 2)"),
            ("public.key", VISIBLE),
        ],
    );
}

#[test]
fn tracked_files_are_covered_whatever_the_rules_say() {
    let mut filter = Filter::new(&Config::default(), tracked(&["build/keep/me.txt", "a.log"]));
    with_dir(&mut filter, "", "build/\n*.log\n");
    let by_build = "ignored by build/ (.gitignore, line 1)";
    check(
        &filter,
        &[
            ("a.log", "visible: tracked by git"),
            ("b.log", "ignored by *.log (.gitignore, line 2)"),
            ("build/", "visible: tracked by git"),
            ("build/keep/", "visible: tracked by git"),
            ("build/keep/me.txt", "visible: tracked by git"),
            ("build/keep/other.txt", by_build),
            ("build/out/", by_build),
        ],
    );
    assert!(!filter.dir(&path("build")).reads_rules(), "git reads no rule file in an ignored one");
}

#[test]
fn include_reaches_into_ignored_directories_and_covers_all_below_a_match() {
    let config = Config {
        include: patterns(&["target/doc/*.html", "/out/**/report", "pkg/dist/"]),
        ..Config::default()
    };
    let mut filter = Filter::new(&config, Tracked::default());
    with_dir(&mut filter, "", "target\nout\ndist\n*.map\nnode_modules\n");
    let by_doc = "visible: included by target/doc/*.html (include of your config, line 1)";
    let by_out = "visible: included by /out/**/report (include of your config, line 2)";
    let by_dist = "visible: included by pkg/dist/ (include of your config, line 3)";
    check(
        &filter,
        &[
            ("target/", by_doc),
            ("target/doc/", by_doc),
            ("target/doc/index.html", by_doc),
            ("target/doc/style.css", "ignored by target (.gitignore, line 1)"),
            ("target/doc/deep/", "ignored by target (.gitignore, line 1)"),
            ("target/debug/", "ignored by target (.gitignore, line 1)"),
            ("out/a/b/", by_out),
            ("out/a/report/", by_out),
            ("out/a/report/x.map", by_out),
            ("out/a/other", "ignored by out (.gitignore, line 2)"),
            ("pkg/dist/", by_dist),
            ("pkg/dist/app.map", by_dist),
            ("app.map", "ignored by *.map (.gitignore, line 4)"),
        ],
    );
}

#[test]
fn an_include_without_a_slash_reaches_everywhere() {
    let config = Config { include: patterns(&["*.pem"]), ..Config::default() };
    let mut filter = Filter::new(&config, Tracked::default());
    with_dir(&mut filter, "", "vault/");
    let by_pem = "visible: included by *.pem (include of your config, line 1)";
    check(
        &filter,
        &[
            ("vault/deep/", by_pem),
            ("vault/deep/a.pem", by_pem),
            ("vault/deep/a", "ignored by vault/ (.gitignore, line 1)"),
        ],
    );
}

#[test]
fn only_what_the_repo_alone_asks_for_is_budgeted() {
    let config = Config {
        include: patterns(&["/mine/"]),
        repo_include: patterns(&["/mine/", "/theirs/", "/src/", "/deep/a/b"]),
        ..Config::default()
    };
    let mut filter = Filter::new(&config, tracked(&["theirs/known/file"]));
    with_dir(&mut filter, "", "mine\ntheirs\ndeep\n");
    for (dir, budgeted) in [
        ("mine", false),
        ("src", false),
        ("src/lib", false),
        ("theirs/new", true),
        ("theirs/known", false),
        ("deep", true),
        ("deep/a", true),
        ("other", false),
    ] {
        assert_eq!(filter.dir(&path(dir)).is_budgeted(), budgeted, "{dir}");
    }
}

#[test]
fn stampdignore_is_stronger_than_gitignore_beside_it_and_weaker_than_a_deeper_one() {
    let files: [(&[u8], &[u8]); 2] =
        [(b".gitignore", b"!gen\n!x.tmp\n"), (b".stampdignore", b"gen\n*.tmp\n")];
    let mut filter = Filter::default();
    filter.set_dir(&path(""), DirRules::parse(&path(""), &files));
    with_dir(&mut filter, "lib", "!*.tmp");
    check(
        &filter,
        &[
            ("gen", "ignored by gen (.stampdignore, line 1)"),
            ("x.tmp", "ignored by *.tmp (.stampdignore, line 2)"),
            ("lib/x.tmp", "visible: re-included by !*.tmp (lib/.gitignore, line 1)"),
        ],
    );
}

#[test]
fn info_exclude_is_weaker_than_rule_files_and_trusted_rules_are_weakest() {
    let config = Config {
        info_exclude: b"a\nb\n!c\n".to_vec(),
        repo_exclude: patterns(&["c", "d"]),
        ..Config::default()
    };
    let mut filter = Filter::new(&config, Tracked::default());
    with_dir(&mut filter, "", "!a");
    check(
        &filter,
        &[
            ("a", "visible: re-included by !a (.gitignore, line 1)"),
            ("b", "ignored by b (.git/info/exclude, line 2)"),
            ("c", "visible: re-included by !c (.git/info/exclude, line 3)"),
            ("x/d", "ignored by d (exclude of .stampd.toml, line 2)"),
        ],
    );
}

#[test]
fn a_walk_and_a_look_out_of_the_blue_agree_and_clones_keep_their_rules() {
    let mut filter = Filter::default();
    with_dir(&mut filter, "", "*.o");
    let snapshot = filter.clone();
    let view = filter.root().enter(b"a");
    let rules = DirRules::parse(&path("a"), &[(b".gitignore", b"!*.o")]);
    let walked = view.with_rules(rules.clone()).enter(b"b").check(b"x.o", false);
    filter.set_dir(&path("a"), rules);
    assert_eq!(walked, filter.ignored(&path("a/b/x.o"), false));
    assert!(walked.is_visible());
    assert!(!snapshot.ignored(&path("a/b/x.o"), false).is_visible());

    filter.rebase(&Config { exclude: patterns(&["b"]), ..Config::default() }, Tracked::default());
    assert!(filter.ignored(&path("a/x.o"), false).is_visible(), "rule files outlive a rebase");
    assert!(!filter.ignored(&path("a/b/x.o"), false).is_visible());
    filter.forget_within(&path("a"));
    assert!(!filter.ignored(&path("a/x.o"), false).is_visible());
}

#[test]
fn a_line_that_cannot_be_understood_hides_nothing_and_is_named() {
    let mut filter = Filter::default();
    let text = b"ok\n[unclosed\n\xff\xfe\nslash\\/\n[[:nope:]]\nlast";
    filter.set_dir(&path("d"), DirRules::parse(&path("d"), &[(b".gitignore", text)]));
    let lines: Vec<u32> = filter.problems().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 4, 5]);
    check(
        &filter,
        &[
            ("d/[unclosed", VISIBLE),
            ("d/slash", VISIBLE),
            ("d/last", "ignored by last (d/.gitignore, line 6)"),
        ],
    );
    assert!(check_pattern("src/*.rs").is_ok());
    for bad in ["", "# a comment", "[a", "x\\"] {
        assert!(check_pattern(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_hostile_rule_file_costs_a_bounded_amount_and_its_first_rules_hold() {
    let lines: Vec<String> = (0..20_000).map(|line| format!("a*{line}?*[bc]/**/x{line}")).collect();
    let text = format!("first\n{}\n!first", lines.join("\n"));
    let mut filter = Filter::default();
    with_dir(&mut filter, "", &text);
    check(
        &filter,
        &[
            ("first", "ignored by first (.gitignore, line 1)"),
            ("a-7-c/y/x7", "ignored by a*7?*[bc]/**/x7 (.gitignore, line 9)"),
            ("a-15000-c/y/x15000", VISIBLE),
        ],
    );
    let told: Vec<_> = filter.problems().map(|problem| problem.line).collect();
    assert_eq!(told, [10_001]);
    with_dir(&mut filter, "", &"[\n".repeat(300_000));
    assert_eq!(filter.problems().count(), 32);
}

#[test]
fn names_and_patterns_of_any_bytes_are_no_danger() {
    let mut filter = Filter::default();
    with_dir(&mut filter, "", "{a,b}\n[!a]z\ncaf?\n[]-]x\n[^]!]y\n\\{c\n");
    let odd = RepoPath::new(b"caf\xe9").expect("well-formed");
    assert!(!filter.ignored(&odd, false).is_visible(), "? is one byte, as in git");
    check(
        &filter,
        &[
            ("a", VISIBLE),
            ("{a,b}", "ignored by {a,b} (.gitignore, line 1)"),
            ("bz", "ignored by [!a]z (.gitignore, line 2)"),
            ("az", VISIBLE),
            ("-x", "ignored by []-]x (.gitignore, line 4)"),
            ("]x", "ignored by []-]x (.gitignore, line 4)"),
            ("!y", VISIBLE),
            ("^y", "ignored by [^]!]y (.gitignore, line 5)"),
            ("{c", "ignored by \\\\{c (.gitignore, line 6)"),
        ],
    );
}

#[test]
fn nested_repositories_and_rule_files_are_told_by_name() {
    assert!(is_nested(&path("vendor/lib"), [&b"src"[..], b".git"].into_iter()));
    assert!(!is_nested(&path(""), [&b".git"[..]].into_iter()));
    assert!(!is_nested(&path("src"), [&b".gitignore"[..]].into_iter()));
    assert!(is_rule_file(&path("a/.gitignore")) && is_rule_file(&path(".stampdignore")));
    assert!(!is_rule_file(&path("gitignore")));
}

proptest! {
    #[test]
    fn rule_files_of_any_bytes_are_safe_to_compile_and_to_ask(
        text in prop::collection::vec(prop::sample::select(b"a*?[]!^-\\/{}:#\r\n \xff\xc3\xa9".to_vec()), 0..60),
        name in prop::collection::vec(1..=255_u8, 1..6),
    ) {
        let name: Vec<u8> = name.into_iter().filter(|&byte| byte != b'/').collect();
        let rules = DirRules::parse(&path(""), &[(b".gitignore", &text)]);
        let view = Filter::default().root().with_rules(rules);
        let _ = (view.check(&name, true), view.check(&name, false));
    }
}
