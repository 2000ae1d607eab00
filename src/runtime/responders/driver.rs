//! The thread around the scheduler: it passes inputs in and carries outputs out.

use super::port::{DriverRequest, ResponderPort, step_command};
use super::worker::{self, StopFlag, Worker};
use crate::base::metrics;
use crate::domain::answer_job::{AnswerJob, AnswerStep, JobId};
use crate::domain::holder::Holder;
use crate::domain::live_answer::LiveAnswer;
use crate::domain::query::{Query, QueryKind};
use crate::domain::responder::ResponderKind;
use crate::responder::Upstream;
use crate::responder::answer::{Answer, cancel_step, immediate_step};
use crate::responder::scheduler::{JobEnd, Scheduler, SchedulerInput, SchedulerLimits, SchedulerOutput};
use crate::runtime::clock::Clock;
use crate::runtime::queue::Wakeup;
use crate::runtime::workers::Workers;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The model that writes answers.
#[derive(Clone)]
pub(crate) struct Model {
    /// Its server; `None` if none is configured.
    pub upstream: Option<Arc<Upstream>>,
    /// The maximum number of messages of context, beside the one to answer.
    pub history: u32,
    /// The maximum number of running answers per user.
    pub answers_per_user_max: u32,
}

/// The thread that drives the scheduler.
pub(crate) struct Driver {
    scheduler: Scheduler,
    /// Answers that workers write.
    answers: HashMap<JobId, RunningAnswer>,
    port: Arc<ResponderPort>,
    workers: Workers,
    model: Model,
    clock: Clock,
}

/// The driver's handle of a running answer.
struct RunningAnswer {
    live: LiveAnswer,
    stop: Arc<StopFlag>,
}

impl Driver {
    /// A driver that lists the open jobs as soon as it runs.
    pub(crate) fn new(workers: Workers, model: Model, clock: Clock) -> Driver {
        let limits = SchedulerLimits::new(model.answers_per_user_max, model.upstream.is_some(), &workers.memory);
        Driver {
            scheduler: Scheduler::new(limits),
            answers: HashMap::new(),
            port: Arc::clone(&workers.replies.responders),
            workers,
            model,
            clock,
        }
    }

    /// Runs until the scheduler has stopped.
    pub(crate) fn run(&mut self) {
        let mut inputs = vec![SchedulerInput::Tick];
        loop {
            for input in inputs.drain(..) {
                self.handle(input);
            }
            if self.scheduler.is_stopped() {
                return;
            }
            metrics::ANSWERS_WAITING.set(self.scheduler.waiting_jobs() as u64);
            metrics::ANSWERS_RUNNING.set(self.scheduler.running_jobs() as u64);
            let now = self.clock.now().mono;
            let timeout = self.scheduler.poll_timeout().map(|at| Duration::from_micros(at.since(now) + 1));
            match self.port.take(&mut inputs, timeout) {
                Wakeup::Closed => return,
                Wakeup::Idle => inputs.push(SchedulerInput::Tick),
                Wakeup::Work => {}
            }
        }
    }

    fn handle(&mut self, input: SchedulerInput) {
        if let SchedulerInput::AnswerEnded { job, .. } = &input {
            self.answers.remove(job);
        }
        let now = self.clock.now().mono;
        let mut next = vec![input];
        while let Some(input) = next.pop() {
            self.scheduler.handle(input, now);
            while let Some(output) = self.scheduler.poll_output() {
                next.extend(self.apply_output(output));
            }
        }
    }

    /// Carries an output out; returns the input that follows at once if that is not possible.
    fn apply_output(&mut self, output: SchedulerOutput) -> Option<SchedulerInput> {
        match output {
            SchedulerOutput::ListJobs { class, range, per_user, limit } => {
                let to = self.port.reserve_for_driver(DriverRequest::ListJobs(class));
                let caller = ResponderKind::Echo.user_id();
                let query = Query { reply_to: to, caller, kind: QueryKind::Jobs { class, range, per_user, limit } };
                self.workers.ask(query);
                None
            }
            SchedulerOutput::AnswerAtOnce { job, answer } => {
                let step = immediate_step(&job, answer);
                self.submit(&job, step, DriverRequest::AnswerAtOnce(job.key));
                None
            }
            SchedulerOutput::StartAnswer(job) => self.start_answer(job),
            SchedulerOutput::StopAnswer { job, reason } => {
                if let Some(answer) = self.answers.get(&job) {
                    answer.stop.set(reason);
                }
                None
            }
            SchedulerOutput::CancelAnswer { job, to } => {
                let live = self.answers.get(&job.key).map(|answer| answer.live.clone()).unwrap_or_default();
                self.submit(&job, cancel_step(&job, &live), DriverRequest::Cancel(job.key, to));
                None
            }
            SchedulerOutput::CancelResult(result) => {
                self.workers.replies.command_result(result);
                None
            }
            SchedulerOutput::CancelDropped(to) => {
                self.workers.replies.dropped(to);
                None
            }
        }
    }

    /// Submits a step of an answer, in the share of the user whose message is answered.
    fn submit(&self, job: &AnswerJob, step: AnswerStep, request: DriverRequest) {
        let to = self.port.reserve_for_driver(request);
        self.workers.submit_now(&Holder::User(job.user.clone()), step_command(job, to, step));
    }

    fn start_answer(&mut self, job: AnswerJob) -> Option<SchedulerInput> {
        let (id, live, stop) = (job.key, LiveAnswer::default(), Arc::<StopFlag>::default());
        let upstream = self.model.upstream.clone()?;
        let worker = Worker {
            answer: Answer::new(job, live.clone()),
            stop: Arc::clone(&stop),
            upstream,
            history: self.model.history,
            port: Arc::clone(&self.port),
            workers: self.workers.clone(),
            clock: self.clock,
        };
        if let Err(error) = worker::start(worker) {
            log::error!("a responder's thread cannot be started: {error}");
            return Some(SchedulerInput::AnswerEnded { job: id, end: JobEnd::Retry });
        }
        self.answers.insert(id, RunningAnswer { live, stop });
        None
    }
}
