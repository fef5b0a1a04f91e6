//! The load: so many callers, each with a connection of its own, one request after the other.
//!
//! All callers share one thread, so that the load takes little of the machine that it measures.
//! A run ends by itself: at its end, at once when it is given up, and at the latest a few seconds
//! after its end even if the service no longer answers.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::{Either, select};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper::{Response, body::Incoming};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::scenario::{Scenario, Writer};
use crate::cli::client::Authority;

/// Not measured: connections, statements and caches of both sides get warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long after its end a run waits for answers.
const GRACE: Duration = Duration::from_secs(5);
/// The pause of a caller whose connection was lost.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How much of an unexpected answer is shown.
const EXCERPT_CHARS: usize = 300;

type Body = http_body_util::Full<hyper::body::Bytes>;

/// What to send, where to, for how long.
#[derive(Clone)]
pub struct Load {
    /// What.
    pub scenario: Scenario,
    /// Where to: the callers are dealt out to these services.
    pub services: Vec<Authority>,
    /// The `Authorization` header.
    pub key: HeaderValue,
    /// Unique among all runs: begins every idempotency key.
    pub run: String,
    /// How long to measure.
    pub length: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Tally {
    /// Answer times of good requests, in microseconds.
    pub times: Histogram<u64>,
    /// Good results: requests, or debits of the batch route.
    pub results: u64,
    /// Results that were refused or never came.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// How long it took, late answers included.
    pub elapsed: Duration,
}

/// Ends a run early when dropped.
#[derive(Default)]
pub struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What all callers of a run share.
struct Run {
    tally: Mutex<Tally>,
    start: Instant,
    end: Instant,
    given_up: Arc<AtomicBool>,
}

impl Load {
    /// Sends the load from a thread of its own. Dropped, it ends at its callers' next answers.
    ///
    /// # Errors
    /// A service cannot be connected to.
    pub async fn send(self) -> anyhow::Result<Tally> {
        let give_up = GiveUp::default();
        let given_up = give_up.0.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(self.send_here(given_up))
        });
        thread.await.context("the load panicked")?
    }

    async fn send_here(self, given_up: Arc<AtomicBool>) -> anyhow::Result<Tally> {
        // Refused at once where nothing listens, rather than after a run of errors.
        for service in &self.services {
            service.connect().await?;
        }
        let start = Instant::now() + WARM_UP;
        let run = Arc::new(Run {
            tally: Mutex::new(Tally::new()?),
            start,
            end: start + self.length,
            given_up,
        });
        let mut callers = JoinSet::new();
        for (number, service) in (0..self.scenario.callers).zip(self.services.iter().cycle()) {
            let prefix = format!("{}-{number}", self.run);
            let header = service.header()?;
            let writer = Writer::new(self.scenario, header, self.key.clone(), prefix);
            callers.spawn(call_until_end(run.clone(), service.clone(), writer));
        }
        while let Some(caller) = callers.join_next().await {
            caller.context("a caller panicked")?;
        }
        let elapsed = start.elapsed();
        let run = Arc::into_inner(run).context("a caller outlived the run")?;
        let tally = run
            .tally
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Tally { elapsed, ..tally })
    }
}

/// One caller: connects again whenever its connection is lost.
async fn call_until_end(run: Arc<Run>, service: Authority, mut writer: Writer) {
    while run.goes_on() {
        let session = call_over_one_connection(&run, &service, &mut writer);
        match timeout_at(run.end + GRACE, session).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => run.note_error(writer.scenario.results(), || format!("{error:#}")),
            Err(_) => run.note_error(writer.scenario.results(), || "no answer in time".to_owned()),
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Until the end of the run, or of the connection. The connection is driven by the caller's own
/// task: nobody else has to be woken for an answer.
async fn call_over_one_connection(
    run: &Run,
    service: &Authority,
    writer: &mut Writer,
) -> anyhow::Result<()> {
    let (mut requests, connection) = http1::handshake(service.connect().await?).await?;
    let calls = pin!(call_in_turn(run, &mut requests, writer));
    match select(pin!(connection), calls).await {
        Either::Left((Ok(()), calls)) => calls.await.context("the service closed the connection"),
        Either::Left((Err(error), _)) => Err(error).context("the connection was lost"),
        Either::Right((done, _)) => done,
    }
}

async fn call_in_turn(
    run: &Run,
    requests: &mut SendRequest<Body>,
    writer: &mut Writer,
) -> anyhow::Result<()> {
    while run.goes_on() {
        requests.ready().await?;
        let request = writer.next()?;
        let sent = Instant::now();
        let answer = requests.send_request(request).await?;
        let (status, text) = read(answer, writer.scenario.kind.is_batch()).await?;
        run.note(&writer.scenario, sent, status, &text);
    }
    Ok(())
}

/// The status and, where it matters, the body; a body that does not matter is only waited for.
async fn read(answer: Response<Incoming>, whole: bool) -> anyhow::Result<(u16, Vec<u8>)> {
    let status = answer.status().as_u16();
    let keep = whole || !(200..300).contains(&status);
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        if let (true, Some(data)) = (keep, frame?.data_ref()) {
            text.extend_from_slice(data);
        }
    }
    Ok((status, text))
}

fn excerpt(status: u16, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.chars().take(EXCERPT_CHARS).collect();
    format!("{status} {text}")
}

impl Run {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end && !self.given_up.load(Ordering::Relaxed)
    }

    /// Notes an answer. Errors count from the first request on, the rest when both sides are warm.
    fn note(&self, scenario: &Scenario, sent: Instant, status: u16, text: &[u8]) {
        let (expected, good) = (scenario.results(), scenario.good_results(status, text));
        if good > 0 && sent >= self.start {
            let mut tally = self.tally();
            let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            tally.times.saturating_record(micros);
            tally.results += good;
        }
        if good < expected {
            self.note_error(expected - good, || excerpt(status, text));
        }
    }

    fn note_error(&self, results: u64, what: impl FnOnce() -> String) {
        let mut tally = self.tally();
        tally.errors += results;
        tally.first_error.get_or_insert_with(what);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            // From a microsecond to a minute, three digits of it.
            times: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            results: 0,
            errors: 0,
            first_error: None,
            elapsed: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::scenario::Kind;
    use super::*;

    /// A service that answers every debit with the same text; with none it hangs up.
    async fn start_service(answer: &'static str) -> Authority {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_each(stream, answer));
            }
        });
        Authority::parse(&url).expect("it is good")
    }

    async fn answer_each(mut stream: TcpStream, answer: &str) {
        let mut request = Vec::new();
        while matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            if !request.ends_with(b"}") {
                continue;
            }
            if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            request.clear();
        }
    }

    async fn load(answer: &'static str) -> Tally {
        let scenario = Scenario {
            kind: Kind::Hot,
            callers: 3,
            pools: 1,
            items: 1,
        };
        let load = Load {
            scenario,
            services: vec![start_service(answer).await],
            key: HeaderValue::from_static("Bearer key"),
            run: "run".to_owned(),
            length: Duration::from_millis(200),
        };
        load.send().await.expect("the service is there")
    }

    #[tokio::test]
    async fn every_answer_is_counted_and_timed() {
        let tally = load("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}").await;

        assert!(tally.results > 3, "{tally:?}");
        assert_eq!((tally.times.len(), tally.errors), (tally.results, 0));
        assert!(tally.elapsed >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_and_says_why() {
        let tally = load("HTTP/1.1 402 No\r\nContent-Length: 4\r\n\r\nwhy?").await;

        assert_eq!((tally.results, tally.times.len()), (0, 0));
        assert!(tally.errors > 3);
        assert_eq!(tally.first_error.as_deref(), Some("402 why?"));
    }

    #[tokio::test]
    async fn a_service_that_hangs_up_is_tried_until_the_end() {
        let tally = load("").await;

        assert_eq!(tally.results, 0);
        assert!(tally.errors > 3, "{tally:?}");
        assert!(tally.elapsed < GRACE);
    }
}
