/*
 * Starts one Kafka broker and controller (KRaft) in one JVM: formats the log directory if it is
 * new, then runs the server. Kafka's own scripts need two JVMs, one after the other, for that.
 *
 * Arguments: the cluster's id, the properties file. SIGTERM shuts the broker down cleanly.
 */
import kafka.tools.StorageTool;

public final class KafkaNode {
    public static void main(String[] args) {
        String[] format = {"format", "--ignore-formatted", "-t", args[0], "-c", args[1]};
        int status = StorageTool.execute(format, System.out);
        if (status != 0) {
            System.err.println("formatting the log directory failed: " + status);
            System.exit(status);
        }
        kafka.Kafka.main(new String[] {args[1]});
    }
}
