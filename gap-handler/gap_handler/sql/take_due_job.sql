SELECT take_due_job()
