//! Possible mistakes of a scheduler, each planted around the real one to show that the simulation finds them.

use cortex_core::internals::{
    AnswerJob, ConversationId, JobEnd, JobId, MonoTime, Scheduler, SchedulerInput, SchedulerLimits, SchedulerOutput,
    StopReason,
};
use std::collections::{BTreeMap, VecDeque};

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// Jobs that did not fit into a queue are not listed again.
    DoesNotListAgain,
    /// Every job is treated as the only one of its conversation.
    RunsTwoOfOneConversation,
    /// A user may have any number of concurrent answers.
    IgnoresShares,
    /// A request to cancel is dropped.
    DropsCancels,
    /// An answer whose job was cancelled or deleted is not stopped.
    DoesNotStop,
    /// Deletions are ignored.
    IgnoresDeletions,
    /// The first job after a restart is started again when it has ended.
    StartsTwiceAfterRestart,
    /// A job to be retried is treated as closed.
    DropsRetries,
    /// One user's jobs are passed on late.
    DelaysOneUser,
    /// A user whose tokens are rejected is answered.
    IgnoresTokenRules,
}

impl Planted {
    pub const ALL: [Planted; 10] = [
        Planted::DoesNotListAgain,
        Planted::RunsTwoOfOneConversation,
        Planted::IgnoresShares,
        Planted::DropsCancels,
        Planted::DoesNotStop,
        Planted::IgnoresDeletions,
        Planted::StartsTwiceAfterRestart,
        Planted::DropsRetries,
        Planted::DelaysOneUser,
        Planted::IgnoresTokenRules,
    ];
}

/// The real scheduler with a planted mistake.
pub struct PlantedScheduler {
    scheduler: Scheduler,
    planted: Planted,
    conversations: BTreeMap<JobId, ConversationId>,
    /// Set until the first job after a restart has ended.
    is_restarted: bool,
    first: Option<AnswerJob>,
    extra: VecDeque<SchedulerOutput>,
    /// The jobs of one user, and when each is passed on.
    delayed: VecDeque<(MonoTime, AnswerJob)>,
}

impl PlantedScheduler {
    pub fn new(limits: SchedulerLimits, planted: Planted, is_restarted: bool) -> PlantedScheduler {
        let answers_per_user_max = match planted {
            Planted::IgnoresShares => 1000,
            _ => limits.answers_per_user_max,
        };
        PlantedScheduler {
            scheduler: Scheduler::new(SchedulerLimits { answers_per_user_max, ..limits }),
            planted,
            conversations: BTreeMap::new(),
            is_restarted,
            first: None,
            extra: VecDeque::new(),
            delayed: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, input: SchedulerInput, now: MonoTime) {
        let input = match (self.planted, input) {
            (Planted::DoesNotListAgain, SchedulerInput::JobsDropped) => return,
            (Planted::DropsCancels, SchedulerInput::CancelRequested { .. }) => return,
            (Planted::IgnoresDeletions, SchedulerInput::EndedOutside(_)) => return,
            (Planted::DropsRetries, SchedulerInput::AnswerEnded { job, .. }) => {
                SchedulerInput::AnswerEnded { job, end: JobEnd::Closed }
            }
            (Planted::IgnoresTokenRules, SchedulerInput::TokenRules(_)) => SchedulerInput::Tick,
            (Planted::RunsTwoOfOneConversation, SchedulerInput::JobsAdded(jobs)) => {
                SchedulerInput::JobsAdded(self.disguise(jobs))
            }
            (Planted::RunsTwoOfOneConversation, SchedulerInput::JobsListed { class, page }) => {
                let page = page.map(|mut page| {
                    for user in &mut page.users {
                        user.jobs = self.disguise(std::mem::take(&mut user.jobs));
                    }
                    page
                });
                SchedulerInput::JobsListed { class, page }
            }
            (Planted::DelaysOneUser, SchedulerInput::JobsAdded(jobs)) => {
                let (delayed, others) = jobs.into_iter().partition(|job| job.user.as_str() == "bob");
                let delayed: Vec<AnswerJob> = delayed;
                self.delayed.extend(delayed.into_iter().map(|job| (now.plus_milliseconds(300), job)));
                SchedulerInput::JobsAdded(others)
            }
            (Planted::StartsTwiceAfterRestart, SchedulerInput::AnswerEnded { job, end: JobEnd::Closed }) => {
                if let Some(first) = self.first.take_if(|first| first.key == job) {
                    self.extra.push_back(SchedulerOutput::StartAnswer(first));
                }
                SchedulerInput::AnswerEnded { job, end: JobEnd::Closed }
            }
            (_, input) => input,
        };
        self.scheduler.handle(input, now);
        while self.delayed.front().is_some_and(|(at, _)| *at <= now) {
            let (_, job) = self.delayed.pop_front().expect("a job is delayed");
            self.scheduler.handle(SchedulerInput::JobsAdded(vec![job]), now);
        }
    }

    pub fn poll_output(&mut self) -> Option<SchedulerOutput> {
        loop {
            let output = self.scheduler.poll_output().or_else(|| self.extra.pop_front())?;
            return Some(match output {
                SchedulerOutput::StopAnswer { reason: StopReason::JobClosed, .. }
                    if self.planted == Planted::DoesNotStop =>
                {
                    continue;
                }
                SchedulerOutput::StartAnswer(job) => {
                    if std::mem::take(&mut self.is_restarted) {
                        self.first = Some(job.clone());
                    }
                    SchedulerOutput::StartAnswer(self.undisguise(job))
                }
                SchedulerOutput::AnswerAtOnce { job, answer } => {
                    SchedulerOutput::AnswerAtOnce { job: self.undisguise(job), answer }
                }
                SchedulerOutput::CancelAnswer(job) => SchedulerOutput::CancelAnswer(self.undisguise(job)),
                other => other,
            });
        }
    }

    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let delayed = self.delayed.front().map(|(at, _)| *at);
        self.scheduler.poll_timeout().into_iter().chain(delayed).min()
    }

    pub fn is_stopped(&self) -> bool {
        self.scheduler.is_stopped()
    }

    pub fn check_invariants(&self) {
        self.scheduler.check_invariants();
    }

    fn disguise(&mut self, jobs: Vec<AnswerJob>) -> Vec<AnswerJob> {
        let disguised = jobs.into_iter().map(|job| {
            self.conversations.insert(job.key, job.conversation_id);
            let conversation_id = ConversationId(uuid::Uuid::from_u128(u128::from(job.key.0.0)));
            AnswerJob { conversation_id, ..job }
        });
        disguised.collect()
    }

    fn undisguise(&self, job: AnswerJob) -> AnswerJob {
        let conversation_id = self.conversations.get(&job.key).copied().unwrap_or(job.conversation_id);
        AnswerJob { conversation_id, ..job }
    }
}
