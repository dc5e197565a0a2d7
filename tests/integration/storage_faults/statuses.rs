//! A real S3 server that answers one request of a command with an error, before or after it has carried it out.
//!
//! Where [`matrix`](super::matrix) fails storage operations, this goes through all that makes them: single requests of HTTP,
//! their answers, and what those mean.

use std::fs;
use std::sync::{Arc, Mutex};

use regrow::random::Random;

use super::ground::Ground;
use super::operations::Operation;
use super::safe::Safe;
use super::tally::Tally;
use super::trial::Trial;
use super::{drawn, seed};
use crate::harness::{self, HttpProxy, Refusal, Run, S3, Verdict};

/// What S3 answers: each status that means something of its own, under each name that it has there.
const REFUSALS: [Refusal; 9] = [
    Refusal { status: 403, code: "AccessDenied" },
    MISSING,
    Refusal { status: 409, code: "ConditionalRequestConflict" },
    Refusal { status: 409, code: "OperationAborted" },
    Refusal { status: 412, code: "PreconditionFailed" },
    Refusal { status: 429, code: "TooManyRequests" },
    Refusal { status: 500, code: "InternalError" },
    Refusal { status: 503, code: "ServiceUnavailable" },
    Refusal { status: 503, code: "SlowDown" },
];

const MISSING: Refusal = Refusal { status: 404, code: "NoSuchKey" };

/// The operations to whose requests this happens.
const COMMANDS: [&str; 4] = ["backup, full", "capture --once", "verify", "restore"];

/// How many requests of each command are drawn where not all are refused.
const DRAWN: usize = 3;

/// How often each request is refused where all are, each time in another way.
const OFTEN: usize = 3;

/// The configuration by which a command comes to the proxy.
const THROUGH: &str = "through-the-proxy.toml";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_loses_nothing() {
    let (ground, seed) = (Ground::in_a_bucket().await, seed());
    let gate = Gate::before(harness::s3());
    gate.lead_through(&ground);
    let (random, mut tally) = (Random::seeded(seed), Tally::default());
    let mut verdicts = shuffled(&random).into_iter().cycle();
    for operation in operations(&ground).await {
        let requests = undisturbed(&ground, &gate, &operation).await;
        println!("{}: {requests} requests", operation.name);
        let places: Vec<usize> = if harness::takes_long() {
            (1..=requests).flat_map(|at| [at; OFTEN]).collect()
        } else {
            (0..DRAWN).map(|_| 1 + drawn(requests, &random)).collect()
        };
        for (at, verdict) in places.into_iter().zip(verdicts.by_ref()) {
            match refused(&ground, &gate, &operation, (at, verdict)).await {
                Some((exit, outcome)) => {
                    let outcome = outcome.map_err(|problem| format!("request {at}: {problem}"));
                    tally.add(operation.name, &name(verdict), exit, outcome);
                }
                None => tally.miss(),
            }
        }
    }
    tally.settle();
}

async fn operations(ground: &Ground) -> Vec<Operation> {
    let mut operations = Operation::storing(ground).await;
    operations.extend(Operation::proving(ground).await);
    operations.retain(|operation| COMMANDS.contains(&operation.name));
    operations
}

/// Returns each refusal, before and after its request has taken effect, in an order that is drawn.
fn shuffled(random: &Random) -> Vec<Verdict> {
    let both = |refusal| [Verdict::RefuseBefore(refusal), Verdict::RefuseAfter(refusal)];
    let mut ordered: Vec<Verdict> = REFUSALS.into_iter().flat_map(both).collect();
    let mut shuffled = Vec::new();
    while !ordered.is_empty() {
        shuffled.push(ordered.swap_remove(drawn(ordered.len(), random)));
    }
    shuffled
}

/// Returns how many requests an operation makes where none is refused.
async fn undisturbed(ground: &Ground, gate: &Gate, operation: &Operation) -> usize {
    begin(ground, operation).await;
    gate.arm(None);
    run(ground, operation).exits(0);
    gate.seen()
}

/// Runs an operation that meets a refusal; returns how it ended and what came of it, or nothing where it made fewer requests.
async fn refused(
    ground: &Ground,
    gate: &Gate,
    operation: &Operation,
    (at, verdict): (usize, Verdict),
) -> Option<(i32, Result<(), String>)> {
    begin(ground, operation).await;
    let safe = Safe::of(&ground.place).await;
    gate.arm(Some((at, verdict)));
    let run = run(ground, operation);
    if gate.seen() < at {
        return None;
    }
    let is_lie = [Verdict::RefuseBefore(MISSING), Verdict::RefuseAfter(MISSING)].contains(&verdict);
    let fault = if is_lie { "missing" } else { "refuse" };
    let outcome = Trial { ground, operation, safe: &safe, fault }.judge(&run).await;
    Some((run.code, outcome.and_then(|()| says_why(&run))))
}

async fn begin(ground: &Ground, operation: &Operation) {
    ground.begin_from(&operation.state).await;
    operation.prepare(ground).await;
}

fn run(ground: &Ground, operation: &Operation) -> Run {
    let through = ["--config", THROUGH].into_iter();
    ground.workspace.run(through.chain(operation.arguments.iter().map(String::as_str)))
}

/// Says that a run has failed without one clear error, if that is so.
fn says_why(run: &Run) -> Result<(), String> {
    let errors = run.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    if run.code == 0 || errors == 1 {
        return Ok(());
    }
    Err(format!("it failed with {errors} errors: {}", run.stderr))
}

fn name(verdict: Verdict) -> String {
    match verdict {
        Verdict::RefuseBefore(Refusal { status, code }) => format!("{status} {code}, before"),
        Verdict::RefuseAfter(Refusal { status, code }) => format!("{status} {code}, after"),
        Verdict::Pass | Verdict::Lose => format!("{verdict:?}"),
    }
}

/// A proxy before the S3 server that does something to one request.
struct Gate {
    proxy: HttpProxy,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The number of the request, from 1, and what becomes of it.
    armed: Option<(usize, Verdict)>,
    seen: usize,
}

impl Gate {
    fn before(s3: &S3) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let proxy = HttpProxy::start(&s3.endpoint, move |_| {
            let mut state = shared.lock().unwrap();
            state.seen += 1;
            state.armed.filter(|(at, _)| *at == state.seen).map_or(Verdict::Pass, |(_, verdict)| verdict)
        });
        Self { proxy, state }
    }

    /// Writes the configuration that leads through it.
    fn lead_through(&self, ground: &Ground) {
        let direct = fs::read_to_string(ground.workspace.config_file()).unwrap();
        let through = direct.replace(&harness::s3().endpoint, &self.proxy.endpoint());
        assert_ne!(through, direct, "the configuration names the endpoint");
        ground.workspace.write(THROUGH, through);
    }

    /// Counts anew, and does this to the request of that number.
    fn arm(&self, armed: Option<(usize, Verdict)>) {
        *self.state.lock().unwrap() = State { armed, seen: 0 };
    }

    fn seen(&self) -> usize {
        self.state.lock().unwrap().seen
    }
}
