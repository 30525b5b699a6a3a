//! Actors that the cases share.

use std::convert::Infallible;

use ipc_actors::{Actor, Addr, Ctx, Mailbox, Message, Published, Recipient, System};

use crate::support::Log;

/// Passes on what it gets, when it is let.
pub struct Member {
    pub name: u32,
    pub log: std::sync::mpsc::Sender<(u32, u64)>,
}

#[derive(Clone)]
pub enum Job {
    Do(u64),
    Panic,
}

impl Message for Job {
    const MESSAGE_TYPE: &'static str = "test.job/1";
}

impl Actor for Member {
    type Msg = Job;
    type Error = Infallible;

    fn handle(&mut self, job: Job, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        match job {
            Job::Do(work) => self.log.send((self.name, work)).expect("the test listens"),
            Job::Panic => panic!("as it was told"),
        }
        Ok(())
    }
}

pub fn members(system: &System, log: &Log<(u32, u64)>, count: u32) -> Vec<Addr<Member>> {
    let spawn = |name| {
        let to = log.to.clone();
        let make = move || Member { name, log: to.clone() };
        system.actor(make).mailbox(Mailbox::counted()).start().expect("it starts")
    };
    (0..count).map(spawn).collect()
}

/// Which member did each of the jobs.
pub fn who_did(log: &Log<(u32, u64)>, system: &System, jobs: usize) -> Vec<u32> {
    let mut done = log.take(system, jobs);
    done.sort_by_key(|(_, job)| *job);
    done.into_iter().map(|(name, _)| name).collect()
}

/// Hears publications.
pub struct Hearer(pub std::sync::mpsc::Sender<(String, u64, u64)>);

impl Actor for Hearer {
    type Msg = Published<News>;
    type Error = Infallible;

    fn handle(&mut self, news: Published<News>, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        let said = match &*news.message {
            News::Good(n) | News::Bad(n) => *n,
        };
        self.0.send((news.topic.to_string(), news.number, said)).expect("the test listens");
        Ok(())
    }
}

#[derive(Debug)]
pub enum News {
    Good(u64),
    Bad(u64),
}

impl Message for News {
    const MESSAGE_TYPE: &'static str = "test.news/1";
}

pub fn hearer(system: &System, log: &Log<(String, u64, u64)>) -> (Addr<Hearer>, Recipient<Published<News>>) {
    let addr = system.spawn(Hearer(log.to.clone())).expect("it starts");
    let recipient = addr.recipient();
    (addr, recipient)
}

pub fn told(topic: &str, number: u64, said: u64) -> (String, u64, u64) {
    (topic.into(), number, said)
}
