const { jobs } = await (await fetch('/v1/jobs')).json();
for (const job of jobs) {
    const row = document.getElementById('jobs').insertRow();
    for (const text of [job.name, job.state])
        row.insertCell().textContent = text;
}
