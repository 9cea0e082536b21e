//! Bridges as processes: started, asked over HTTP, ended, with real servers behind them.

pub mod events;
mod outage;
mod start;

use serde_json::{Value, json};

use crate::support::postgres::Address;
use crate::support::process::{Agent, Home};
use crate::support::web::Web;

const STAMP: &str = "/api/v1/metadata-stamping/stamp";

/// A bridge that is ready.
pub struct Bridge {
    pub process: Agent,
    pub web: Web,
}

impl Bridge {
    /// Starts one under a name of its own and waits until it is ready.
    pub fn start(home: &Home, name: &str) -> Self {
        let mut process = home.start_role(&["bridge"], name);
        process.wait_ready();
        let address = process.wait_notice_of("STATUS=serving the stamping API on ");
        Self { process, web: Web(address.parse().expect("it tells its address")) }
    }
}

/// A home whose bridges keep their record there, as the older services would be told.
pub fn home(database: &Address) -> Home {
    let mut home = Home::new();
    home.configure("");
    home.set("POSTGRES_HOST", &database.host);
    home.set("POSTGRES_PORT", &database.port.to_string());
    home.set("POSTGRES_DATABASE", &database.database);
    home.set("POSTGRES_USER", &database.user);
    home.set("POSTGRES_PASSWORD", &database.password);
    home.set("SERVICE_PORT", "0");
    home
}

/// A request to stamp a content.
fn content(text: &str) -> Value {
    json!({ "content": text, "file_path": format!("/{text}"), "namespace": "it.bridge.tests" })
}
