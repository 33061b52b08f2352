"""The whole program on one machine: embedded servers, demo people and companies, every process supervised."""
