/*
 * Starts one Elasticsearch node out of the jars alone, without the archive's launcher.
 *
 * Arguments are settings, name=value; path.home must hold config/log4j2.properties and
 * modules/transport-netty4. SIGTERM closes the node: the shutdown hook waits for it.
 */
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

public final class ElasticNode {
    public static void main(String[] args) throws Exception {
        Settings.Builder builder = Settings.builder();
        for (String arg : args) {
            int equals = arg.indexOf('=');
            builder.put(arg.substring(0, equals), arg.substring(equals + 1));
        }
        Settings settings = builder.build();
        Path config = Path.of(settings.get("path.home"), "config");
        LogConfigurator.setNodeName(settings.get("node.name"));
        Environment environment = new Environment(settings, config);
        LogConfigurator.configureESLogging();
        LogConfigurator.configure(environment, true);

        /* The last argument: on the class path there is no server module to export to plugins. */
        PluginsLoader loader =
            PluginsLoader.createPluginsLoader(
                PluginsLoader.loadModulesBundles(environment.modulesDir()), Set.of(), Map.of(), false);
        Node node = new Node(environment, loader);
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node, closed)));
        node.start();
        closed.await(); /* the node's own threads are daemons: this one keeps the JVM alive */
    }

    private static void close(Node node, CountDownLatch closed) {
        try {
            node.close();
        } catch (java.io.IOException e) {
            System.err.println("closing the node: " + e);
        }
        closed.countDown();
    }
}
