//! Databases of the test bed's PostgreSQL.

use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls};

use super::{bed, block_on, random_name};

/// A fresh, empty database, dropped with the value together with the logins made for it.
pub struct Database {
    name: String,
    logins: Vec<String>,
}

/// The parts of a connection URL, so that a test can put together the one it is about.
#[derive(Clone, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
}

impl Address {
    /// As a URL with the password in it: for connecting, never for stampd's own config.
    pub fn url(&self) -> String {
        let Self { host, port, user, password, database } = self;
        format!("postgres://{user}:{password}@{host}:{port}/{database}")
    }

    /// As the URL that stampd's config wants: without the password.
    pub fn url_without_password(&self) -> String {
        let Self { host, port, user, database, .. } = self;
        format!("postgres://{user}@{host}:{port}/{database}")
    }

    /// As the URL that stampd's config wants, for a server on this machine.
    pub fn url_without_tls(&self) -> String {
        format!("{}?sslmode=disable", self.url_without_password())
    }

    /// The only value of the only row of a query.
    pub fn value<T: FromSqlOwned + Send>(&self, sql: &str) -> T {
        block_on(|| async {
            let client = self.connect().await;
            client.query_one(sql, &[]).await.expect("the query is right").get(0)
        })
    }

    /// Connects without TLS; the connection ends with the client.
    pub async fn connect(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url(), NoTls).await.expect("the database answers");
        #[expect(clippy::disallowed_methods, reason = "ends with the client, in a test")]
        tokio::spawn(connection);
        client
    }
}

impl Database {
    /// Makes an empty database by a random name, from `template0`, so that no other session's
    /// connection to the template stands in the way.
    pub fn create() -> Self {
        let name = random_name("it");
        execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self { name, logins: Vec::new() }
    }

    /// The database, as the superuser who owns it.
    pub fn admin(&self) -> Address {
        Address { database: self.name.clone(), ..server() }
    }

    /// Makes a login that belongs to the role `member_of`, with a password of its own.
    pub fn login(&mut self, member_of: &str) -> Address {
        let (user, password) = (random_name("login"), random_name("secret"));
        execute(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}' IN ROLE {member_of}"));
        self.logins.push(user.clone());
        Address { user, password, ..self.admin() }
    }

    /// Lets nobody in any more, and throws out who is.
    pub fn block(&self) {
        let name = &self.name;
        execute(&format!("ALTER DATABASE {name} CONNECTION LIMIT 0"));
        execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ));
    }

    /// Lets logins in again.
    pub fn unblock(&self) {
        execute(&format!("ALTER DATABASE {} CONNECTION LIMIT -1", self.name));
    }

    /// Runs SQL in this database as the superuser, without a runtime of the caller's.
    pub fn batch(&self, sql: &str) {
        batch(&self.admin(), sql);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        for login in &self.logins {
            execute(&format!("DROP ROLE IF EXISTS {login}"));
        }
    }
}

/// The server's maintenance database, as its superuser.
fn server() -> Address {
    let config: tokio_postgres::Config =
        bed("STAMPD_TEST_POSTGRES").parse().expect("the test bed gives a valid URL");
    let [tokio_postgres::config::Host::Tcp(host)] = config.get_hosts() else {
        panic!("the test bed gives one TCP host, not {:?}", config.get_hosts());
    };
    let password = config.get_password().expect("the test bed gives a password");
    Address {
        host: host.clone(),
        port: *config.get_ports().first().expect("the test bed gives a port"),
        user: config.get_user().expect("the test bed gives a user").to_owned(),
        password: String::from_utf8(password.to_vec()).expect("the password is text"),
        database: config.get_dbname().expect("the test bed gives a database").to_owned(),
    }
}

fn execute(sql: &str) {
    batch(&server(), sql);
}

fn batch(address: &Address, sql: &str) {
    let outcome = block_on(|| async { address.connect().await.batch_execute(sql).await });
    outcome.expect("the server takes the statement");
}
