//! `stampd token new|ls|revoke`: which agents may deliver through a bridge.
//!
//! Works on the bridge's database itself, found as the bridge finds it: whoever may write there decides. A token is
//! printed once, alone on stdout, so that it can be piped to where it belongs.

use serde::Serialize;

use super::exit::{Exit, failed};
use super::shell::{Format, Printer, Shell, block_on, print, print_json};
use super::table::{local, safe, table};
use crate::config::{self, Flags, Role};
use crate::model::namespace::Namespace;
use crate::runtime::clock::Clock;
use crate::runtime::time::Timestamp;
use crate::store::address::Address;
use crate::store::tokens::{self, Listed, Name, TokenError};
use crate::store::{Session, StoreError};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Issue a token for an agent, and print it: this is the only time it is shown
    New(New),
    /// List the tokens, in force and revoked
    Ls(At),
    /// Revoke the token in force under a name: its agent is refused from now on
    Revoke(Revoke),
}

/// Where the database is.
#[derive(Debug, clap::Args)]
pub(super) struct At {
    /// The database, instead of [postgres] url; the password still comes from the config
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// Whose it is; a new token under an old name gets the streams of the old one
    name: Name,
    /// A namespace that it may speak of; as many as you like [default: all]
    #[arg(long = "namespace", value_name = "NS")]
    namespaces: Vec<Namespace>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// Whose it is
    name: Name,
    #[command(flatten)]
    at: At,
}

pub(super) fn run(shell: &Shell, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::New(new) => issue(shell, new),
        Command::Ls(at) => list(shell, at),
        Command::Revoke(revoke) => end(shell, revoke),
    }
}

fn issue(shell: &Shell, New { name, namespaces, at }: &New) -> anyhow::Result<Exit> {
    let address = address(shell, at)?;
    let token = block_on(async {
        let mut session = Session::open(&address).await?;
        tokens::issue(&mut session, name, namespaces).await
    })??;
    print(&format!("{}\n", token.reveal()))?;
    Ok(Exit::Fine)
}

fn end(shell: &Shell, Revoke { name, at }: &Revoke) -> anyhow::Result<Exit> {
    let address = address(shell, at)?;
    block_on(async {
        let mut session = Session::open(&address).await?;
        tokens::revoke(&mut session, name).await
    })??;
    shell.note(&format!("revoked the token of {name}"));
    Ok(Exit::Fine)
}

#[derive(Serialize)]
struct List {
    schema: &'static str,
    tokens: Vec<Listed>,
}

fn list(shell: &Shell, at: &At) -> anyhow::Result<Exit> {
    let address = address(shell, at)?;
    let tokens = block_on(async {
        let mut session = Session::open(&address).await?;
        Ok::<_, TokenError>(tokens::list(&mut session).await?)
    })??;
    match shell.format {
        Format::Human => print(&text(&tokens, Clock::system().now()))?,
        Format::Json => print_json(&List { schema: "stampd.tokens/v1", tokens })?,
        Format::Jsonl => {
            let mut out = Printer::new();
            for token in &tokens {
                out.line(&serde_json::to_string(token)?)?;
            }
            out.finish()?;
        }
    }
    Ok(Exit::Fine)
}

fn text(tokens: &[Listed], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no tokens; `stampd token new NAME` issues one\n".to_owned();
    }
    let heads = ["NAME", "NAMESPACES", "ISSUED", "REVOKED", "STREAMS", "LAST SEEN"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for token in tokens {
        let scope = token.namespaces.join(",");
        let or_dash = |at: Option<_>| at.map_or_else(|| "-".to_owned(), |at| local(at, now));
        rows.push(vec![
            safe(&token.name),
            if scope.is_empty() { "all".to_owned() } else { safe(&scope) },
            local(token.created_at, now),
            or_dash(token.revoked_at),
            token.streams.to_string(),
            or_dash(token.last_seen),
        ]);
    }
    table(&rows)
}

fn address(shell: &Shell, at: &At) -> anyhow::Result<Address> {
    let flags = Flags { role: Role::Bridge, postgres_url: at.url.clone(), ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    let database = config.postgres.ok_or_else(|| {
        let text = "find the database: write [postgres] url into the config, or use --url";
        failed(Exit::Config, text)
    })?;
    Ok(Address::parse(&database).map_err(|error| TokenError::Store(StoreError::from(error)))?)
}

/// How a failure ends the command.
pub(super) fn exit_of(error: &TokenError) -> Exit {
    match error {
        TokenError::Store(error) => super::migrate::of_store(error),
        TokenError::Taken(_) => Exit::Degraded,
        TokenError::Unknown(_) => Exit::NotFound,
        TokenError::Entropy => Exit::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_listed_with_what_they_may() {
        assert!(text(&[], Timestamp::from_nanos(0)).contains("stampd token new"));
        let token = Listed {
            name: "ann".into(),
            namespaces: vec!["a.b.c".into(), "a.b.d".into()],
            created_at: Timestamp::from_nanos(0),
            revoked_at: None,
            streams: 2,
            last_seen: None,
        };
        let everything = Listed { name: "bob".into(), namespaces: vec![], ..token.clone() };
        let text = text(&[token, everything], Timestamp::from_nanos(0));
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..2], ["ann", "a.b.c,a.b.d"]);
        assert_eq!(lines[2][..2], ["bob", "all"]);
    }
}
