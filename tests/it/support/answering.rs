//! An agent that answers as a test tells it to.

use std::thread::JoinHandle;

use stampd::control::{Call, Listener, Reply, Request, serve};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::process::Home;

/// It listens where a home's commands look for their agent, until it is dropped or asked for its end.
pub struct Answering {
    stop: CancellationToken,
    thread: Option<JoinHandle<Vec<Request>>>,
}

impl Answering {
    /// Answers every request with `reply`.
    pub fn start(home: &Home, reply: Reply) -> Self {
        // A client may have left meanwhile.
        Self::with(home, move |(_, sender)| drop(sender.send(reply.clone())))
    }

    /// Has `answer` deal with every request.
    pub fn with(home: &Home, answer: impl FnMut(Call) + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let (token, runtime_dir) = (stop.clone(), home.runtime_dir());
        let (bound, is_bound) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = Listener::bind(&runtime_dir).unwrap();
                bound.send(()).unwrap();
                let (sender, calls) = mpsc::channel(8);
                let (served, asked) =
                    tokio::join!(serve(listener, sender, token), answer_all(calls, answer));
                served.unwrap();
                asked
            })
        });
        is_bound.recv().unwrap();
        Self { stop, thread: Some(thread) }
    }

    /// Ends, and tells what it was asked.
    pub fn asked(mut self) -> Vec<Request> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

async fn answer_all(mut calls: mpsc::Receiver<Call>, mut answer: impl FnMut(Call)) -> Vec<Request> {
    let mut asked = Vec::new();
    while let Some(call) = calls.recv().await {
        asked.push(call.0.clone());
        answer(call);
    }
    asked
}
