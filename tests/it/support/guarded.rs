//! An Apache Kafka that lets nobody do anything that was not allowed to them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rdkafka::ClientConfig;

use super::broker::Broker;

/// A right, as the broker numbers it.
#[derive(Clone, Copy)]
pub enum Right {
    Write = 4,
    Create = 5,
    Describe = 8,
}

/// The broker. Its one login is `alice` with the password `alice`; whoever comes by the inner
/// listener may do everything.
pub struct Guarded(pub Broker);

impl Guarded {
    /// Starts one that allows nothing yet.
    pub async fn start() -> Self {
        let login = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        Self(
            Broker::start_with(&format!(
                "listener.security.protocol.map=\
                 PLAINTEXT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 sasl.enabled.mechanisms=PLAIN\n\
                 listener.name.plaintext.plain.sasl.jaas.config={login} user_alice=\"alice\";\n\
                 authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS\n"
            ))
            .await,
        )
    }

    /// A client config by which everything is allowed.
    pub fn of_the_owner(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.0.inner.to_string());
        config
    }

    /// Allows alice something on a topic. The question is put by hand: no client of ours has it.
    pub fn allow(&self, right: Right, topic: &str) {
        const CREATE_ACLS: [u8; 4] = [0, 30, 0, 1];
        let mut question = CREATE_ACLS.to_vec();
        let text = |question: &mut Vec<u8>, text: &str| {
            question.extend((text.len() as u16).to_be_bytes());
            question.extend(text.as_bytes());
        };
        question.extend(7_u32.to_be_bytes());
        text(&mut question, "test");
        question.extend(1_u32.to_be_bytes());
        question.push(TOPIC);
        text(&mut question, topic);
        question.push(LITERAL);
        text(&mut question, "User:alice");
        text(&mut question, "*");
        question.extend([right as u8, ALLOW]);
        let mut stream = TcpStream::connect(self.0.inner).expect("the broker listens");
        stream.write_all(&(question.len() as u32).to_be_bytes()).expect("it takes questions");
        stream.write_all(&question).expect("it takes questions");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("it answers");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).expect("it answers");
        // A number, a time to wait, how many there are, and the code of each.
        assert_eq!(&answer[12..14], [0, 0], "{answer:?}");
    }
}

const TOPIC: u8 = 2;
const LITERAL: u8 = 3;
const ALLOW: u8 = 3;
