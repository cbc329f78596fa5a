/*
 * In a chroot whose root is no mount point, /proc/self/mounts has no line for "/", and Java 17's own
 * class of this name throws "Mount point not found" on every path below it; Elasticsearch then does
 * not start. There, and only there (see jvm.py), this class takes its place with --patch-module: it
 * answers with an entry for "/" of which nobody needs more than that it exists. Sizes are asked of
 * the path itself, so they stay right.
 *
 * Rejected: to bind-mount the stack's directory onto itself, which a plain user can't.
 */
package sun.nio.fs;

import java.io.IOException;

class LinuxFileStore extends UnixFileStore {
    LinuxFileStore(UnixPath file) throws IOException {
        super(file);
    }

    LinuxFileStore(UnixFileSystem fs, UnixMountEntry entry) throws IOException {
        super(fs, entry);
    }

    @Override
    UnixMountEntry findMountEntry() {
        return new UnixMountEntry() {
            @Override
            String name() {
                return "chroot";
            }

            @Override
            String fstype() {
                return "unknown";
            }

            @Override
            byte[] dir() {
                return new byte[] {'/'};
            }

            @Override
            boolean hasOption(String requested) {
                return false;
            }
        };
    }
}
