//! Answer jobs and answers: who answers, the effects of each step, and crashes between them.

mod changes;
mod closing;
mod crash;
mod fixture;
mod history;
mod jobs;
mod steps;
