"""`python -m accrete.node_step RUN STAGE`: what the TrainJobs of users name; see steps/node.py."""

from accrete.steps.node import main

if __name__ == "__main__":
    main()
