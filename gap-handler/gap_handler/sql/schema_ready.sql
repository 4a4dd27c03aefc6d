-- Whether the migrations have been here.
SELECT to_regclass('data_quality_logs') IS NOT NULL AND to_regproc('owed_minutes') IS NOT NULL
   AND to_regproc('take_due_job') IS NOT NULL AND to_regclass('history_completeness') IS NOT NULL
