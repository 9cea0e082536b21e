//! The variables of the services that bridge and adapter stand in for, so that their deployments need not be
//! written anew.
//!
//! They stand in only where nobody said otherwise: a file, a `STAMPD_` variable or a flag is about
//! stampd, and these may have been exported for another program. A section is taken whole or not at
//! all, so that one program's password never goes to another's server.

use std::fmt::Write as _;

use super::Role;
use super::layer::Settings;
use super::load::Environment;
use super::problem::Origin;
use crate::model::envelope::topic_name;

const POSTGRES: [&str; 5] =
    ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE", "POSTGRES_USER", "POSTGRES_PASSWORD"];

/// Lets the variables stand in for what was not set. An agent does not listen to them.
pub(super) fn apply(settings: &mut Settings, role: Role, environment: &Environment) {
    if role == Role::Agent {
        return;
    }
    postgres(settings, environment);
    kafka(settings, environment);
    if role == Role::Adapter {
        listener(settings, environment, "adapter", ("DATABASE_ADAPTER_PORT", "8070"));
    } else {
        listener(settings, environment, "api", ("SERVICE_PORT", "8057"));
        settings.table_mut("api").open();
    }
}

fn postgres(settings: &mut Settings, environment: &Environment) {
    let Some(first) = POSTGRES.into_iter().find(|name| environment.get(name).is_some()) else {
        return;
    };
    let table = settings.table("postgres");
    if table.found("url").is_some() {
        return;
    }
    let or = |name: &str, usual: &str| environment.get(name).unwrap_or(usual).to_owned();
    let mut url = "postgres://".to_owned();
    encode(&mut url, &or("POSTGRES_USER", "postgres"));
    url.push('@');
    let host = or("POSTGRES_HOST", "localhost");
    if host.contains(':') {
        let _ = write!(url, "[{host}]");
    } else {
        encode(&mut url, &host);
    }
    let _ = write!(url, ":{}/", or("POSTGRES_PORT", "5432"));
    encode(&mut url, &or("POSTGRES_DATABASE", "omninode_bridge"));
    let is_own = table.found("password").is_some();
    stand_in(settings, environment, first, ("postgres", "url"), &url);
    if environment.get("POSTGRES_PASSWORD").is_some() && !is_own {
        let (name, reference) = ("POSTGRES_PASSWORD", "env:POSTGRES_PASSWORD");
        stand_in(settings, environment, name, ("postgres", "password"), reference);
    }
}

fn kafka(settings: &mut Settings, environment: &Environment) {
    const BROKERS: &str = "KAFKA_BOOTSTRAP_SERVERS";
    if let Some(brokers) = environment.get(BROKERS)
        && settings.table("kafka").found("brokers").is_none()
    {
        stand_in(settings, environment, BROKERS, ("kafka", "brokers"), brokers);
    }
    let words = ["OMNINODE_ENV", "OMNINODE_TENANT", "OMNINODE_CONTEXT"];
    let table = settings.table("kafka");
    let Some(first) = words.into_iter().find(|name| environment.get(name).is_some()) else {
        return;
    };
    // The topic alone switches nothing on: it says where events go if they go anywhere.
    if table.at.is_some() && table.origin("topic") == Origin::Default {
        let [environment_word, tenant, context] = words.map(|name| environment.get(name));
        let topic = topic_name(
            environment_word.unwrap_or("dev"),
            tenant.unwrap_or("omninode_bridge"),
            context.unwrap_or("onex"),
        );
        stand_in(settings, environment, first, ("kafka", "topic"), &topic);
    }
}

/// Where the role listens: at the host of all the services, and at its own port.
fn listener(
    settings: &mut Settings,
    environment: &Environment,
    section: &str,
    (port_name, usual_port): (&str, &str),
) {
    let (host, port) = (environment.get("SERVICE_HOST"), environment.get(port_name));
    let name = if port.is_some() { port_name } else { "SERVICE_HOST" };
    let is_default = settings.table(section).origin("listen") == Origin::Default;
    if is_default && (host.is_some() || port.is_some()) {
        let host = host.unwrap_or("127.0.0.1");
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let listen = format!("{host}:{}", port.unwrap_or(usual_port));
        stand_in(settings, environment, name, (section, "listen"), &listen);
    }
}

fn stand_in(
    settings: &mut Settings,
    environment: &Environment,
    variable: &str,
    (section, key): (&str, &str),
    text: &str,
) {
    let origin = Origin::Variable(variable.to_owned());
    settings.apply_text(&origin, (section, key), text, environment);
}

/// Appends a part of a URL, percent-encoded where it is not plain.
fn encode(url: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}
