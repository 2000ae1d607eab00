//! Answer jobs and answers: the choice of the responder, the effects of each step, and crashes between steps.

mod again;
mod changes;
mod closing;
mod crash;
mod fixture;
mod history;
mod jobs;
mod steps;
