"""The pages for people, under /console/; they show rows and call actions, and never speak to the cluster."""
