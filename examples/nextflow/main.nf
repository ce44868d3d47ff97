// One plan in N parts that write into one store, and the proof that the store holds all of it.
//
//   nextflow run examples/nextflow/main.nf --manifest nlq.csv --recipe egovlp_nlq --out features --parts 4
//
// The store lies outside of the work folders, on a file system that all nodes see: parts share it, and retries go on with it.

params.manifest = "manifests/demo.csv"
params.recipe = "demo"
params.out = "features"
params.parts = 4

manifest = file(params.manifest).toAbsolutePath()
store = file(params.out).toAbsolutePath()

process part {
    cpus 4
    maxRetries 3
    // 75: stopped, call again; 137 and 143: killed. Anything else lets the other parts end, and is tried again by the next call.
    errorStrategy { task.exitStatus in [75, 137, 143] ? 'retry' : 'finish' }

    input:
    val index

    output:
    val index

    script:
    """
    cd '${launchDir}'
    egofx extract -m '${manifest}' -p '${params.recipe}' -o '${store}' --shard ${index}/${params.parts} --steal always --threads ${task.cpus}
    """
}

process verify {
    input:
    val parts

    output:
    stdout

    script:
    """
    egofx verify '${store}'
    """
}

workflow {
    part(Channel.of(1..params.parts)) | collect | verify | view
}
