//! An Apache Kafka of a test's own, which it may kill and whose road it may close: everything goes
//! through a proxy, which is the only address that the broker tells its clients.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rdkafka::ClientConfig;
use tempfile::TempDir;

use super::free_port;
use super::proxy::{Proxy, Road};
use super::wait::{wait_for_async, wait_until};

/// The broker. Dropping it kills it.
pub struct Broker {
    pub proxy: Proxy,
    /// Where it listens for itself.
    pub inner: SocketAddr,
    own: SocketAddr,
    /// The address that it tells its clients.
    told: SocketAddr,
    process: Option<Child>,
    dir: TempDir,
}

impl Broker {
    /// Formats a storage and starts a broker on it.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts one with more settings, which win over ours.
    pub async fn start_with(more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("stampd-broker-").tempdir();
        let dir = dir.expect("a scratch directory");
        let (own, inner) = (free_address(), free_address());
        let proxy = Proxy::to(own, Road::Open).await;
        let properties = properties(&dir, own, inner, &proxy) + more;
        fs::write(dir.path().join("server.properties"), properties)
            .expect("the scratch directory takes files");
        let cluster = "c3RhbXBkLXRlc3QtYmVkMA";
        let args = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c"];
        let formatted = java(dir.path(), &args).status().expect("java starts");
        assert!(formatted.success(), "the storage is formatted");
        let told = proxy.address();
        let mut broker = Self { proxy, inner, own, told, process: None, dir };
        broker.restart();
        broker
    }

    /// Starts it again, on what it stored.
    pub fn restart(&mut self) {
        let log = self.dir.path().join("kafka.log");
        // What an earlier start wrote must not pass for this one's.
        File::create(&log).expect("the scratch directory takes files");
        let process = java(self.dir.path(), &["kafka.Kafka"]).spawn().expect("java starts");
        self.process = Some(process);
        wait_until("the broker serves", || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("Kafka Server started"))
        });
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it was running");
            process.wait().expect("it ends");
        }
    }

    /// `host:port`, through the proxy.
    pub fn address(&self) -> String {
        self.proxy.address().to_string()
    }

    /// Moves it behind another address, by which it does not know itself: the one that it tells its
    /// clients leads nowhere from now on.
    pub async fn move_away(&mut self) {
        self.proxy = Proxy::to(self.own, Road::Open).await;
        let told = self.told;
        wait_for_async("the old address is closed", async || {
            tokio::net::TcpStream::connect(told).await.is_err().then_some(())
        })
        .await;
    }

    /// A client config that leads there.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn properties(dir: &TempDir, own: SocketAddr, inner: SocketAddr, proxy: &Proxy) -> String {
    let (advertised, storage) = (proxy.address(), dir.path().join("storage"));
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@{controller}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=INTERNAL\n\
         listeners=PLAINTEXT://{own},INTERNAL://{inner},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{advertised},INTERNAL://{inner}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={storage}\n\
         num.partitions=3\n\
         default.replication.factor=1\n\
         offsets.topic.replication.factor=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         auto.create.topics.enable=false\n",
        controller = free_address(),
        storage = storage.display(),
    )
}

/// A command of the broker's that ends with the name of its config.
fn java(dir: &Path, args: &[&str]) -> Command {
    let log = File::options().append(true).create(true).open(dir.join("kafka.log"));
    let log = log.expect("the scratch directory takes files");
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(jars().join("*"))
        .args(args)
        .arg(dir.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be cloned"))
        .stderr(log);
    command
}

/// Where the test bed keeps the broker's jars: below the directory that this test was built into.
fn jars() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let bed = own.ancestors().map(|dir| dir.join("bed")).find(|bed| bed.is_dir());
    let bed = bed.expect("the test bed was brought up before: run the tests with `make test`");
    let entries = fs::read_dir(bed).expect("it can be listed").flatten().map(|entry| entry.path());
    let mut jars = entries.filter(|path| {
        path.is_dir()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kafka-"))
    });
    jars.next().expect("the test bed has fetched the broker's jars")
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
