// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster gives tests one real API server: etcd and kube-apiserver on loopback, with
// Goshawk's kinds installed.
//
// A test package configures the server in its TestMain, and its tests use it:
//
//	func TestMain(m *testing.M) { cluster.Main(m) }
//
//	func TestStory(t *testing.T) {
//		config, c := cluster.Start(t)
//		namespace := cluster.Namespace(t)
//		cluster.Kubectl(t, "-n", namespace, "get", "goshawk")
//	}
//
// The server starts with the first test that calls Start and runs until the last test of the binary
// has ended. Only the API server runs: no garbage collector, no namespace controller. So namespaces
// are never deleted, and each test creates a new one.
package cluster

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	goshawk "github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// An Option changes the server of a test binary.
type Option func(*envtest.Environment)

// APIServerArg sets a flag of the API server, without its dashes.
func APIServerArg(name string, values ...string) Option {
	return func(environment *envtest.Environment) {
		environment.ControlPlane.GetAPIServer().Configure().Set(name, values...)
	}
}

// shared is the only server of this test binary.
var shared struct {
	options []Option
	start   sync.Once
	err     error

	environment *envtest.Environment
	client      client.Client
	kubeconfig  string
	folder      string

	namespaces atomic.Int64
	beforeStop []func() error
}

// Main runs the tests of a package, stops the server if one of them started it, and exits. It is
// the whole body of a TestMain.
func Main(m *testing.M, options ...Option) {
	shared.options = options
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// AtOnce says how many tests of a package run at the same time if -parallel does not: more than
// there are processors, where tests mostly wait. A TestMain calls it before Main.
func AtOnce(tests int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(tests)); err != nil {
		panic(err) // the testing package has renamed its flag
	}
}

// Start returns a configuration and a client for the server, which it starts if no test has done so
// yet. It skips the test if there are no binaries to start. The configuration is a copy for the
// test and has no rate limit; the client reads from the API server, not from a cache.
func Start(t testing.TB) (*rest.Config, client.Client) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("this test needs an API server and KUBEBUILDER_ASSETS names none: run `make test`, which builds one and sets it")
	}
	shared.start.Do(func() { shared.err = start() })
	if shared.err != nil {
		t.Fatalf("starting the API server: %v", shared.err)
	}
	return rest.CopyConfig(shared.environment.Config), shared.client
}

// Scheme returns a scheme with Goshawk's kinds and those of Kubernetes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), goshawk.AddToScheme(scheme)); err != nil {
		panic(err) // only a mistake in AddToScheme of a package causes this
	}
	return scheme
}

// Namespace creates a namespace for one test, named after it.
func Namespace(t testing.TB) string {
	t.Helper()
	_, c := Start(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("%s-%d", dnsLabel(t.Name(), 50), shared.namespaces.Add(1)),
	}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	return namespace.Name
}

// Kubectl runs kubectl against the server and returns what it printed. An exit code other than 0
// fails the test.
func Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := TryKubectl(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryKubectl runs kubectl with the given standard input. The error contains the error output of
// kubectl and wraps *exec.ExitError.
func TryKubectl(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	Start(t)
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), shared.environment.ControlPlane.KubectlPath, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+shared.kubeconfig, "KUBECACHEDIR="+filepath.Join(shared.folder, "cache"))
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Kubeconfig returns the path of a kubeconfig with all rights on the server, for programs that a
// test starts.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	Start(t)
	return shared.kubeconfig
}

// KubectlPath returns the path of the kubectl that Kubectl runs, for scripts that a test starts.
func KubectlPath(t testing.TB) string {
	t.Helper()
	Start(t)
	return shared.environment.ControlPlane.KubectlPath
}

// Root returns the root of the module: the nearest folder above the working directory with a
// go.mod.
func Root() string {
	folder, err := os.Getwd()
	if err != nil {
		panic(err) // without a working directory no test can find its files
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			panic("no go.mod in the working directory or above it")
		}
		folder = parent
	}
}

func start() error {
	environment := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join(Root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		// kubectl is in the folder of the two servers; envtest itself looks for it only when it
		// creates a command line
		ControlPlane: envtest.ControlPlane{KubectlPath: filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")},
	}
	for _, option := range shared.options {
		option(environment)
	}
	if err := collectLess(); err != nil {
		return err
	}
	config, err := environment.Start()
	if err != nil {
		return errors.Join(err, environment.Stop())
	}
	config.QPS = -1
	shared.environment = environment
	if shared.client, err = client.New(config, client.Options{Scheme: Scheme()}); err != nil {
		return err
	}
	if shared.folder, err = os.MkdirTemp("", "goshawk-test-"); err != nil {
		return err
	}
	shared.kubeconfig = filepath.Join(shared.folder, "kubeconfig")
	return os.WriteFile(shared.kubeconfig, environment.KubeConfig, 0o600)
}

// collectLess lets the programs that the test starts collect garbage less often, as long as they
// need less than a gigabyte, unless the environment has the two variables. With Go's default, the
// API server of a test spends a quarter of its time on garbage collection: its heap is small, and
// its requests are many.
func collectLess() error {
	for name, value := range map[string]string{"GOGC": "400", "GOMEMLIMIT": "1GiB"} {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// BeforeStop calls f before the server is stopped, because watches must end first.
func BeforeStop(f func() error) { shared.beforeStop = append(shared.beforeStop, f) }

func stop() error {
	var err error
	for _, f := range shared.beforeStop {
		err = errors.Join(err, f())
	}
	if shared.environment == nil {
		return err
	}
	return errors.Join(err, shared.environment.Stop(), os.RemoveAll(shared.folder))
}

var notDNS = regexp.MustCompile(`[^a-z0-9]+`)

// dnsLabel returns a DNS label for the name of a test, with at most length characters.
func dnsLabel(name string, length int) string {
	name = notDNS.ReplaceAllString(strings.ToLower(name), "-")
	return strings.Trim(name[:min(len(name), length)], "-")
}
