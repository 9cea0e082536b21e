//! Services: what is written for systemd and launchd, and what the service manager is told.
//!
//! No machine of ours has to run systemd: a program on the PATH stands for `systemctl`, keeps what it
//! was told and answers as systemd would. That the units are right is for `systemd-analyze` to say,
//! which needs no running manager.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::agent::Workplace;
use super::support::schema;

/// The units that are packaged, and how exposed each may be.
const UNITS: [(&str, f64); 3] =
    [("stampd@.service", 1.5), ("stampd-bridge.service", 1.0), ("stampd-adapter.service", 1.0)];

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd").join(name)
}

/// A service manager of one's own: the file `state` holds what it says of any unit, `calls` what it
/// was told, and `refusal`, if it is there, is all that it ever answers.
pub struct Manager {
    pub place: Workplace,
    bin: PathBuf,
}

impl Manager {
    pub fn new() -> Self {
        let place = Workplace::new("");
        let bin = place.home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let script = "#!/bin/sh\n\
            cd \"$(dirname \"$0\")\" || exit 1\n\
            [ -e refusal ] && { cat refusal >&2; exit 1; }\n\
            case \"$*\" in\n\
              *show*) cat state 2>/dev/null; exit 0 ;;\n\
            esac\n\
            echo \"$@\" >>calls\n\
            case \"$*\" in\n\
              *restart*) printf 'ActiveState=active\\nUnitFileState=enabled\\nMainPID=7\\n' >state ;;\n\
              *disable*) : >state ;;\n\
            esac\n";
        fs::write(bin.join("systemctl"), script).unwrap();
        fs::set_permissions(bin.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { place, bin }
    }

    pub fn refuses(&self, with: &str) {
        fs::write(self.bin.join("refusal"), with).unwrap();
    }

    pub fn obeys(&self) {
        let _ = fs::remove_file(self.bin.join("refusal"));
    }

    /// Runs `stampd service …`; returns the exit code, what it said on either stream, and what the
    /// manager was told.
    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        self.stampd(&[&["service"], args].concat())
    }

    /// Runs any command beside this manager.
    pub fn stampd(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.place.home.command(args);
        command.current_dir(self.place.home.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.bin.display()));
        let output = command.output().unwrap();
        schema::hold(&output.stdout);
        let said = [output.stdout, output.stderr].concat();
        let calls = fs::read_to_string(self.bin.join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.bin.join("calls"));
        (output.status.code(), String::from_utf8(said).unwrap(), calls)
    }

    fn unit(&self) -> PathBuf {
        self.place.home.path().join("home/.config/systemd/user/stampd.service")
    }
}

const STARTED: &str = "--user daemon-reload\n--user daemon-reload\n\
                       --user enable stampd.service\n--user restart stampd.service\n";

#[test]
fn what_is_printed_is_written_and_started_and_taken_away_again_but_for_spool_and_config() {
    let manager = Manager::new();
    assert!(manager.place.home.start_ready().terminate().success());
    let (code, printed, _) = manager.run(&["print", "--user"]);
    assert_eq!(code, Some(0));
    let (code, said, calls) = manager.run(&["install", "--user"]);
    assert_eq!((code, &*calls), (Some(0), STARTED), "{said}");
    assert_eq!(fs::read_to_string(manager.unit()).unwrap(), printed);
    let (code, said, _) = manager.run(&["status", "--user", "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"active\":\"active\"") && said.contains("\"pid\":7"), "{said}");
    let (code, said, calls) = manager.run(&["uninstall", "--user"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(calls, "--user disable --now stampd.service\n--user daemon-reload\n");
    let spool = manager.place.home.state_dir();
    assert!(
        said.contains(&format!("the spool stays, with its logs, in {}", spool.display())),
        "{said}"
    );
    assert!(spool.join("spool.db").exists() && manager.place.home.config_file().exists());
    assert!(!manager.unit().exists());
    let left: Vec<_> = fs::read_dir(manager.unit().parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(manager.run(&["uninstall", "--user"]).0, Some(7));
    assert_eq!(manager.run(&["status", "--user"]).0, Some(7));
}

#[test]
fn the_printed_unit_is_the_packaged_one_with_this_machines_paths() {
    let manager = Manager::new();
    let packaged = fs::read_to_string(packaged("stampd-user.service")).unwrap();
    let (_, printed, _) = manager.run(&["print", "--user"]);
    assert_eq!(packaged.lines().count(), printed.lines().count());
    let differing: Vec<_> =
        packaged.lines().zip(printed.lines()).filter(|(left, right)| left != right).collect();
    assert_eq!(differing.len(), 2, "{differing:?}");
    let home = &manager.place.home;
    let start = format!(" --config \"{}\" run", home.config_file().display());
    assert!(differing[0].1.starts_with("ExecStart=\"/") && differing[0].1.ends_with(&start));
    let (state, run) = (home.state_dir(), home.runtime_dir());
    let writable = format!("ReadWritePaths=\"{}\" \"{}\"", state.display(), run.display());
    assert_eq!(differing[1].1, writable);
}

#[test]
fn what_is_installed_and_runs_is_left_alone_and_what_is_not_whole_is_finished() {
    let manager = Manager::new();
    assert_eq!(manager.run(&["install", "--user"]).0, Some(0));
    let (code, said, calls) = manager.run(&["install", "--user"]);
    assert_eq!((code, &*calls), (Some(2), "--user daemon-reload\n"), "{said}");
    assert!(said.contains("installed at") && said.contains("and runs"), "{said}");
    // As an older version, or an install that was cut short, leaves it.
    fs::write(manager.unit(), "# stampd of old\n").unwrap();
    assert_eq!(manager.run(&["install", "--user"]).2, STARTED);
    fs::write(manager.bin.join("state"), "ActiveState=failed\nUnitFileState=enabled\n").unwrap();
    assert_eq!(manager.run(&["install", "--user"]).2, STARTED);
    // Somebody else's.
    fs::write(manager.unit(), "[Service]\nExecStart=/bin/true\n").unwrap();
    let (code, said, _) = manager.run(&["install", "--user"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("move it away"), "{said}");
    assert!(fs::read_to_string(manager.unit()).unwrap().contains("/bin/true"));
}

#[test]
fn without_a_manager_or_a_right_or_a_repo_nothing_is_written() {
    let manager = Manager::new();
    manager.refuses("System has not been booted with systemd");
    let (code, said, _) = manager.run(&["install", "--user"]);
    assert_eq!(code, Some(7));
    assert!(said.contains("not been booted") && said.contains("start `stampd run`"), "{said}");
    manager.obeys();
    manager.place.home.configure("");
    let (code, said, _) = manager.run(&["install", "--user"]);
    assert_eq!(code, Some(78));
    assert!(said.contains("`stampd add DIR`"), "{said}");
    manager.place.configure("");
    fs::remove_file(manager.bin.join("systemctl")).unwrap();
    let mut command = manager.place.home.command(&["service", "install", "--user"]);
    let output = command.env("PATH", &manager.bin).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(!manager.unit().exists());
    let (code, said, _) = manager.run(&["install", "--user", "bridge"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--system"), "{said}");
    assert_eq!(manager.run(&["install"]).0, Some(2), "whose it is must be said");
}

#[test]
fn an_agent_that_runs_by_hand_is_not_doubled() {
    let manager = Manager::new();
    let agent = manager.place.home.start_ready();
    let (code, said, _) = manager.run(&["install", "--user"]);
    assert_eq!(code, Some(75));
    assert!(said.contains("end it first"), "{said}");
    assert!(!manager.unit().exists());
    assert!(agent.terminate().success());
}

#[test]
fn a_spool_of_a_newer_version_refuses_an_older_one_with_the_way_back() {
    let manager = Manager::new();
    assert!(manager.place.home.start_ready().terminate().success());
    let spool = manager.place.home.state_dir().join("spool.db");
    let raise = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); \
                 c.execute('PRAGMA user_version=99'); c.commit()";
    let raised = Command::new("python3").args(["-c", raise]).arg(&spool).status().unwrap();
    assert!(raised.success());
    let (code, said, _) = manager.run(&["install", "--user"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("version is 99") && said.contains("run the newer stampd"), "{said}");
    assert!(!manager.unit().exists());
}

#[test]
fn a_service_of_the_machine_is_for_root() {
    let manager = Manager::new();
    for verb in ["install", "uninstall"] {
        let mut command = manager.place.home.unprivileged(&["service", verb, "--system", "bridge"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", manager.bin.display()));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match verb {
            "install" => {
                assert_eq!(output.status.code(), Some(8), "{said}");
                let typed = "`sudo stampd service install --system bridge`";
                assert!(said.contains(typed), "{said}");
            }
            // It is not there, whoever asks.
            _ => assert_eq!(output.status.code(), Some(7), "{said}"),
        }
    }
    assert!(!manager.bin.join("calls").exists());
}

/// It would have been written, and ended at its start over and over, with nobody told.
#[test]
fn a_service_of_the_machine_without_its_config_is_not_installed() {
    let manager = Manager::new();
    for (role, page) in [("bridge", "docs/bridge.md"), ("adapter", "docs/adapter.md")] {
        let args = ["--config", "absent.toml", "install", "--system", role];
        let (code, said, calls) = manager.run(&args);
        assert_eq!(calls, "");
        if rustix::process::geteuid().is_root() {
            assert_eq!(code, Some(78), "{said}");
            assert!(said.contains("there is no ") && said.contains("absent.toml"), "{said}");
            assert!(said.contains(page), "{said}");
        } else {
            assert_eq!(code, Some(8), "{said}");
        }
    }
}

#[test]
fn without_a_manager_a_server_is_told_how_to_start_by_itself() {
    let manager = Manager::new();
    manager.refuses("System has not been booted with systemd");
    let (code, said, _) = manager.run(&["install", "--system", "bridge"]);
    if rustix::process::geteuid().is_root() {
        assert_eq!(code, Some(7), "{said}");
        assert!(said.contains("start `stampd bridge` by other means"), "{said}");
    } else {
        assert_eq!(code, Some(8), "{said}");
    }
}

#[test]
fn units_of_the_machine_name_their_user_their_config_and_what_they_may_write() {
    let manager = Manager::new();
    let (code, text, _) = manager.run(&["print", "--system", "--for", "root"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("User=%i\n"));
    assert!(text.contains("ReadWritePaths=\"/root/.local/state/stampd\"\n"), "{text}");
    let (code, text, _) = manager.run(&["print", "--system", "adapter"]);
    assert_eq!(code, Some(0), "{text}");
    let config = manager.place.home.config_file();
    assert!(text.contains(&format!("--config \"{}\" adapter\n", config.display())), "{text}");
    let (code, said, _) = manager.run(&["print", "--system", "--for", "nobody-of-that-name"]);
    assert_eq!(code, Some(7), "{said}");
    let (code, said, _) = manager.run(&["print", "--system"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--for USER"), "{said}");
}

/// What systemd itself thinks of a unit, with a program in it that is there.
fn analyze(verb: &[&str], unit: &Path) -> String {
    let output = Command::new("systemd-analyze").args(verb).arg(unit).output();
    let output = output.expect("systemd-analyze is there: it comes with systemd");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{}: {said}", unit.display());
    said
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_them_well_enclosed() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = |name: &str| {
        let text = fs::read_to_string(packaged(name)).unwrap();
        let unit = dir.path().join(name.replace("stampd@.", "stampd@ada."));
        fs::write(&unit, text.replace("/usr/bin/stampd", "/bin/true")).unwrap();
        unit
    };
    assert_eq!(analyze(&["verify"], &scratch("stampd-user.service")), "");
    for (name, most) in UNITS {
        let unit = scratch(name);
        assert_eq!(analyze(&["verify"], &unit), "", "{name}");
        let said = analyze(&["security", "--offline=true", "--no-pager"], &unit);
        let level = said.lines().last().and_then(|line| line.split(": ").nth(1));
        let level = level.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        assert!(level.is_some_and(|level| level <= most), "{name}: {said}");
    }
}
