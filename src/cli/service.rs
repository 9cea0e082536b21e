//! `stampd service install|uninstall|status|logs|print`: the units of systemd and the agent of
//! launchd.
//!
//! What is written is the file in `packaging`, with the paths of this machine put in ([`unit`],
//! [`plist`]); who starts it is the service manager ([`manager`]). Promises: what `print` shows is
//! what `install` writes; an install that was cut short, or one over an older version, is finished by
//! another; spool and config are never touched.

mod install;
mod manager;
mod plist;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use directories::BaseDirs;
use serde::Serialize;

pub(super) use self::install::Placed;
use self::install::{check_root, place};
use self::manager::{Manager, Shown};
use super::exit::{Exit, failed};
use super::shell::{Format, Shell, print, print_json};
use super::table::table;
use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print what install would write
    Print(What),
    /// Write the service, enable it and start it
    Install(What),
    /// Stop it, disable it and remove it; config and spool stay
    Uninstall(What),
    /// Say whether it is installed and runs
    Status(What),
    /// Print its log
    Logs {
        #[command(flatten)]
        what: What,
        /// How many lines
        #[arg(long, short = 'n', default_value_t = 50)]
        lines: u32,
        /// Go on as more comes
        #[arg(long, short)]
        follow: bool,
    },
}

/// Which service.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub(super) struct What {
    #[arg(value_enum, default_value_t)]
    role: Role,
    /// Of the user's own service manager
    #[arg(long, group = "scope")]
    user: bool,
    /// Of the machine's service manager; for root
    #[arg(long, group = "scope")]
    system: bool,
    /// Whose agent the machine is to run [default: who called sudo]
    #[arg(long = "for", value_name = "USER", requires = "system")]
    owner: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    #[default]
    Agent,
    Bridge,
    Adapter,
}

/// Whose service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    User,
    System,
}

/// A service as it is, or would be, installed.
struct Service {
    manager: Manager,
    /// What the manager calls it.
    name: String,
    /// Where it is written.
    file: PathBuf,
    /// What is written there.
    text: String,
    /// Directories that must be there before it starts, for it alone.
    dirs: Vec<PathBuf>,
    /// The config of a service of the machine: another than that of whoever installs it.
    config: Option<PathBuf>,
}

pub(super) fn run(shell: &Shell, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Print(what) => print(&Service::resolve(shell, what)?.text)?,
        Command::Install(what) => install(shell, what)?,
        Command::Uninstall(what) => uninstall(shell, what)?,
        Command::Status(what) => return status(shell, what),
        Command::Logs { what, lines, follow } => {
            let service = Service::resolve(shell, what)?;
            // Only launchd has no log of its own.
            let file = base_dirs().map(|base| plist::log_in(base.home_dir())).unwrap_or_default();
            return service.manager.logs(&service.name, &file, *lines, *follow);
        }
    }
    Ok(Exit::Fine)
}

/// Installs the user's own agent, unless it is.
pub(super) fn place_own(shell: &Shell) -> anyhow::Result<Placed> {
    let what = What::own();
    place(shell, &what, &Service::resolve(shell, &what)?)
}

/// Whether the user's own agent is installed, and how it is.
///
/// # Errors
/// When there is no service manager that answers.
pub(super) fn look_at_own(shell: &Shell) -> anyhow::Result<(bool, Shown)> {
    let service = Service::resolve(shell, &What::own())?;
    Ok((service.file.exists(), service.manager.show(&service.name)?))
}

impl What {
    fn own() -> Self {
        Self { role: Role::Agent, user: true, system: false, owner: None }
    }

    fn scope(&self) -> Scope {
        if self.system { Scope::System } else { Scope::User }
    }

    /// What does the same without a service manager.
    const fn by_hand(&self) -> &'static str {
        match self.role {
            Role::Agent => "stampd run",
            Role::Bridge => "stampd bridge",
            Role::Adapter => "stampd adapter",
        }
    }

    /// The same words on a command line.
    fn typed(&self) -> String {
        let role = match self.role {
            Role::Agent => "",
            Role::Bridge => " bridge",
            Role::Adapter => " adapter",
        };
        let scope = if self.system { "--system" } else { "--user" };
        let owner = self.owner.as_ref().map(|owner| format!(" --for {owner}"));
        format!("{scope}{}{role}", owner.unwrap_or_default())
    }
}

impl Service {
    fn resolve(shell: &Shell, what: &What) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program's own path")?;
        let manager = Manager::here(what.scope());
        match (&manager, what.scope(), what.role) {
            (Manager::Launchd, Scope::User, Role::Agent) => Self::launchd(shell, &program),
            (Manager::Launchd, ..) => {
                let text = "make that a service here: launchd has the user's own agent alone; \
                            run servers under systemd or in containers";
                Err(failed(Exit::Usage, text))
            }
            (Manager::Systemd(_), Scope::User, Role::Agent) => Self::own(shell, &program),
            (Manager::Systemd(_), Scope::User, _) => {
                let text = "make a server a user's service: say --system";
                Err(failed(Exit::Usage, text))
            }
            (Manager::Systemd(_), Scope::System, Role::Agent) => {
                Self::of_owner(shell, what, &program)
            }
            (Manager::Systemd(_), Scope::System, role) => Ok(Self::server(shell, role, &program)),
        }
    }

    fn own(shell: &Shell, program: &Path) -> anyhow::Result<Self> {
        let config = shell.config()?;
        let base = base_dirs()?;
        Ok(Self {
            manager: Manager::Systemd(Scope::User),
            name: "stampd.service".to_owned(),
            file: base.config_dir().join("systemd/user/stampd.service"),
            text: unit::fill(unit::USER, program, &flags(shell, &config), &config.agent.own_dirs),
            dirs: config.agent.own_dirs,
            config: None,
        })
    }

    /// The agent of a user, run by the machine's manager: with the user's config and spool.
    fn of_owner(shell: &Shell, what: &What, program: &Path) -> anyhow::Result<Self> {
        let owner = what.owner.as_deref().or_else(|| shell.environment.get("SUDO_USER"));
        let owner = owner.ok_or_else(|| {
            failed(Exit::Usage, "tell whose agent the machine is to run: say --for USER")
        })?;
        let home = manager::home_of(owner)?;
        let asked = shell.flags().state_dir.map(PathBuf::from);
        let state_dir = asked.clone().unwrap_or_else(|| home.join(".local/state/stampd"));
        let config = shell.flags().config.map(|file| shell.environment.directory().join(file));
        let flags = typed_flags(config.as_deref(), asked.as_deref());
        let dirs = vec![state_dir];
        let found = home.join(".config/stampd/stampd.toml");
        Ok(Self {
            config: Some(config.unwrap_or(found)),
            manager: Manager::Systemd(Scope::System),
            name: format!("stampd@{owner}.service"),
            file: Path::new(unit::SYSTEM_DIR).join(format!("stampd@{owner}.service")),
            text: unit::fill(unit::OF_USER, program, &flags, &dirs),
            dirs,
        })
    }

    fn server(shell: &Shell, role: Role, program: &Path) -> Self {
        let (role, template) = match role {
            Role::Adapter => ("adapter", unit::ADAPTER),
            Role::Bridge | Role::Agent => ("bridge", unit::BRIDGE),
        };
        let config = shell.flags().config.map_or_else(
            || PathBuf::from(format!("/etc/stampd/{role}.toml")),
            |file| shell.environment.directory().join(file),
        );
        let name = format!("stampd-{role}.service");
        Self {
            manager: Manager::Systemd(Scope::System),
            file: Path::new(unit::SYSTEM_DIR).join(&name),
            text: unit::fill(template, program, &typed_flags(Some(&config), None), &[]),
            name,
            dirs: Vec::new(),
            config: Some(config),
        }
    }

    fn launchd(shell: &Shell, program: &Path) -> anyhow::Result<Self> {
        let config = shell.config()?;
        let base = base_dirs()?;
        let file = base.home_dir().join("Library/LaunchAgents").join(plist::FILE);
        let log = plist::log_in(base.home_dir());
        let text = plist::fill(program, &flags(shell, &config), &log);
        let manager = Manager::Launchd;
        let (name, dirs) = (plist::LABEL.to_owned(), config.agent.own_dirs);
        Ok(Self { manager, name, file, text, dirs, config: None })
    }
}

fn base_dirs() -> anyhow::Result<BaseDirs> {
    BaseDirs::new()
        .ok_or_else(|| failed(Exit::Config, "find the place for services: HOME is not set"))
}

/// What the service's command line needs so that it finds this very config.
fn flags(shell: &Shell, config: &Config) -> Vec<String> {
    let state_dir = shell.flags().state_dir.map(|_| config.agent.state_dir.as_path());
    typed_flags(config.file.as_deref(), state_dir)
}

fn typed_flags(config: Option<&Path>, state_dir: Option<&Path>) -> Vec<String> {
    let flag = |name: &str, path: Option<&Path>| {
        let path = path?.to_string_lossy().into_owned();
        Some([name.to_owned(), path])
    };
    [flag("--config", config), flag("--state-dir", state_dir)]
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

fn install(shell: &Shell, what: &What) -> anyhow::Result<()> {
    let service = Service::resolve(shell, what)?;
    match place(shell, what, &service)? {
        Placed::Started => Ok(()),
        Placed::Current => {
            let text = format!(
                "install the service: it is installed at {} and runs; `stampd service status {}` \
                 tells how",
                service.file.display(),
                what.typed()
            );
            Err(failed(Exit::Usage, text))
        }
    }
}

fn uninstall(shell: &Shell, what: &What) -> anyhow::Result<()> {
    let service = Service::resolve(shell, what)?;
    let place = service.file.display();
    if !service.file.exists() {
        return Err(failed(Exit::NotFound, format!("find the service: there is no {place}")));
    }
    check_root(what, "uninstall")?;
    service.manager.stop(&service.name)?;
    fs::remove_file(&service.file).with_context(|| format!("remove {place}"))?;
    service.manager.forget()?;
    let mut stays = Vec::new();
    for dir in &service.dirs {
        // Only an empty one goes: the socket's. What is left is the spool, and it says so.
        if dir.exists() && fs::remove_dir(dir).is_err() {
            stays.push(dir.display().to_string());
        }
    }
    shell.note(&format!("removed {place}"));
    if !stays.is_empty() {
        shell.note(&format!("the spool stays, with its logs, in {}", stays.join(", ")));
    }
    if let Ok(Config { file: Some(file), .. }) = shell.config() {
        shell.note(&format!("your config stays in {}", file.display()));
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    file: &'a Path,
    installed: bool,
    active: &'a str,
    enabled: &'a str,
    pid: Option<u32>,
}

fn status(shell: &Shell, what: &What) -> anyhow::Result<Exit> {
    let service = Service::resolve(shell, what)?;
    let shown = service.manager.show(&service.name)?;
    let installed = service.file.exists();
    let document = Document {
        schema: "stampd.service/v1",
        name: &service.name,
        file: &service.file,
        installed,
        active: &shown.active,
        enabled: &shown.enabled,
        pid: shown.pid,
    };
    match shell.format {
        Format::Json | Format::Jsonl => print_json(&document)?,
        Format::Human => {
            let pid = shown.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let file = if installed { service.file.display().to_string() } else { "-".to_owned() };
            let head = ["SERVICE", "ACTIVE", "ENABLED", "PID", "FILE"].map(str::to_owned).to_vec();
            let (active, enabled) = (shown.active.clone(), shown.enabled.clone());
            print(&table(&[head, vec![service.name.clone(), active, enabled, pid, file]]))?;
        }
    }
    Ok(match (installed, shown.is_active()) {
        (false, _) => Exit::NotFound,
        (true, true) => Exit::Fine,
        (true, false) => Exit::Degraded,
    })
}
