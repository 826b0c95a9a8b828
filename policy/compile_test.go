package policy

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// secilc gives the compiler named by CASEMATE_SECILC (its words, separated by tabs), which
// make test sets.
func secilc(t *testing.T) func(context.Context, ...string) *exec.Cmd {
	t.Helper()
	line := strings.Split(os.Getenv("CASEMATE_SECILC"), "\t")
	if line[0] == "" {
		t.Skip("CASEMATE_SECILC is not set: make test sets it to the fetched secilc")
	}
	return func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, line[0], append(line[1:], args...)...)
	}
}

func TestCompile(t *testing.T) {
	out, err := Compile(context.Background(), secilc(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(out.Policy)
	if err != nil {
		t.Fatal(err)
	}
	if max := int64(40_000); st.Size() > max {
		t.Errorf("policy is %d bytes; want at most %d", st.Size(), max)
	}
	t.Logf("policy: %d bytes, %s", st.Size(), out.Digest)
}

// Each neverallow group refuses a rule that breaks it; without the rule the
// policy compiles (TestCompile), so that a refusal is the neverallow's doing.
func TestNeverallow(t *testing.T) {
	for _, c := range []struct{ what, rule string }{
		{"load a policy", "(allow init_t security_t (security (load_policy)))"},
		{"leave enforcing", "(allow vmhost_t security_t (security (setenforce)))"},
		{"set unknown labels", "(allow vmhost_t self (capability2 (mac_admin)))"},
		{"enter a domain without exec", "(allow vmhost_t svirt_t (process (dyntransition)))"},
		{"a VM enters another domain", "(allow svirt_t vmhost_t (process (transition)))"},
		{"a VM executes its disk", "(allow svirt_t svirt_image_t (file (execute)))"},
		{"a guest is exempt from MCS", "(typeattributeset mcs_exempt svirt_t)"},
		{"a guest reads memory", "(allow svirt_t memory_device_t (chr_file (read)))"},
		{"a guest opens KVM", "(allow svirt_t kvm_device_t (chr_file (open)))"},
		{"a guest speaks TCP", "(allow svirt_t self (tcp_socket (create)))"},
		{"a guest uses io_uring", "(allow svirt_t self (io_uring (sqpoll)))"},
		{"a guest removes a read-only volume", "(allow svirt_t svirt_content_t (file (unlink)))"},
		{"a guest writes to the manager's directory", "(allow svirt_t vmhost_run_t (dir (add_name)))"},
		{"a guest writes to selinuxfs", "(allow svirt_t security_t (file (write)))"},
		{"NFS is mounted without a label", "(allow vmhost_t nfs_t (filesystem (mount)))"},
		{"the manager debugs a VM", "(allow vmhost_t svirt_t (process (ptrace)))"},
		{"a VM executes the manager", "(allow svirt_t node_exec_t (file (execute)))"},
		{"a VM executes a library", "(allow svirt_t lib_t (file (execute_no_trans)))"},
		{"KVM guests get execmem", "(allow svirt_t self (process (execmem)))"},
		{"anything gets execmod", "(allow init_t usr_t (file (execmod)))"},
		{"a VM gets a capability", "(allow svirt_t self (capability (sys_admin)))"},
		{"a VM makes a user namespace", "(allow svirt_tcg_t self (user_namespace (create)))"},
		{"a VM opens a block device", "(allow svirt_t block_device_t (blk_file (open)))"},
		{"a VM writes the root image", "(allow svirt_t usr_t (file (write)))"},
		{"a VM relabels its disk", "(allow svirt_t svirt_image_t (file (relabelfrom)))"},
		{"a VM mounts", "(allow svirt_t tmpfs_t (filesystem (mount)))"},
		{"a VM signals the manager", "(allow svirt_t vmhost_t (process (sigkill)))"},
		{"a VM connects to the manager", "(allow svirt_t vmhost_t (unix_stream_socket (connectto)))"},
		{"a VM opens the tap device", "(allow svirt_t tun_device_t (chr_file (open)))"},
		{"the gateway gets a capability", "(allow gateway_t self (capability (net_admin)))"},
		{"qemu-img gets a capability", "(allow qemu_img_t self (capability (dac_override)))"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := compile(context.Background(), secilc(t), t.TempDir(), map[string]string{"cil/categories.cil": categoriesCIL(), "cil/broken.cil": c.rule})
			if err == nil || !strings.Contains(err.Error(), "neverallow check failed") {
				t.Errorf("compile with %s = %v; want a failed neverallow check", c.rule, err)
			}
		})
	}
}
