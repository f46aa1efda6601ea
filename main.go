// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager runs Goshawk: its controllers, its device API, its console, or several of them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // maintenance windows need time zones on images without them

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/artifact"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/manager"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "goshawk: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	var o manager.Options
	var deviceAPI, mqtt, consoleAddress string
	var hasConsole bool
	flag.BoolVar(&o.Controllers, "controllers", true, "run the controllers")
	flag.BoolVar(&o.DeviceAPI, "device-api", true, "serve the device API (hawkBit's DDI)")
	flag.StringVar(&o.Namespace, "namespace", "goshawk-system", "namespace of Goshawk's own objects: leases and the record of invalidated sets")
	flag.Func("watch-namespaces", "namespaces to work in, separated by commas: only their objects are reconciled and only their devices are served (default: all)", watchNamespaces(&o))
	flag.BoolVar(&o.LeaderElect, "leader-elect", true, "let only one of several processes run the controllers; all of them serve the device API")
	flag.StringVar(&deviceAPI, "ddi-bind-address", ":8080", "address of the device API")
	flag.StringVar(&o.CertificateFile, "ddi-tls-cert-file", "", "file with the certificate of the device API, and its intermediate certificates, in PEM: the device API then serves HTTPS, and accepts client certificates as a DeviceAccess says. It is read again when it changes (default: none, HTTP)")
	flag.StringVar(&o.KeyFile, "ddi-tls-key-file", "", "file with the private key of that certificate, in PEM (default: none)")
	flag.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8081", "address of the metrics; 0 serves none")
	flag.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8082", "address of /healthz and /readyz; 0 serves none")
	flag.BoolVar(&o.RequireApproval, "require-approval", false, "require spec.approval for the start of every rollout")
	flag.Func("notifications-secret", "Secret, as NAMESPACE/NAME, with the receiver of notifications: each decision is sent to it as a CloudEvent; see docs/notifications.md (default: none, no notifications)", func(name string) (err error) {
		o.NotificationsSecret, err = namespacedName(name)
		return err
	})
	flag.IntVar(&o.WritesInFlight, "writes-in-flight", 8, "maximum number of parallel writes to Targets; on small machines more than about eight make the API server drop slow watches")
	flag.StringVar(&o.DeviceAPIOptions.BaseURL, "ddi-base-url", "", "URL of the device API for devices, such as https://devices.example.com or https://example.com/goshawk; links start with it (default: the host in the request of the device)")
	flag.Func("default-namespace", "namespace of the devices that use the tenant DEFAULT, in upper or lower case, as clients do that cannot be configured with a tenant (default: the namespace with the name default)", func(name string) (err error) {
		o.DeviceAPIOptions.DefaultNamespace, err = namespaceName(name)
		return err
	})
	flag.Func("trusted-proxies", "addresses and ranges of the proxies in front of the device API, such as 10.0.0.0/8,fd00::/8; the X-Forwarded-* and Forwarded headers of these, and of no other address, are trusted (default: none)", func(list string) (err error) {
		o.DeviceAPIOptions.TrustedProxies, err = ddi.ParseProxies(list)
		return err
	})
	flag.IntVar(&o.DeviceAPIOptions.MaxConnections, "device-api-max-connections", 10_000, "maximum number of open connections of devices and proxies")
	flag.IntVar(&o.DeviceAPIOptions.MaxAddressConnections, "device-api-max-connections-per-address", 1000, "maximum number of them from one address, an IPv6 /64 as a whole; addresses of --trusted-proxies are exempt")
	flag.DurationVar(&o.Backend.PollInterval, "ddi-poll-interval", 5*time.Minute, "poll interval that devices get, 1s to 23h59m59s; it is changed by up to a tenth for each device")
	flag.StringVar(&o.PollIntervalsFile, "ddi-poll-intervals-file", "", "file of other poll intervals by the labels of Targets, which is read again when it changes; see docs/devices.md (default: none)")
	flag.DurationVar(&o.Backend.ProgressInterval, "ddi-progress-interval", 30*time.Second, "how long intermediate reports of a device are buffered before they are written; results are written at once")
	flag.BoolVar(&o.Backend.Replicated, "device-api-replicated", false, "other replicas serve the same devices: the first sign of work of a device is written at once, because its result may arrive at another replica")
	mqttFlags(&o, &mqtt)
	artifactFlags(&o)
	flag.BoolVar(&hasConsole, "console", false, "serve the console, a web page for people; see docs/console.md")
	consoleFlags(&o.Console, &consoleAddress)
	flag.StringVar(&o.Backend.InstalledName, "device-api-installed-name-attribute", "", "device attribute with the name of the distribution set that the device runs; a new device must send it before it is offered an update (default: none)")
	flag.StringVar(&o.Backend.InstalledVersion, "device-api-installed-version-attribute", "", "device attribute with the version of that set (default: none)")
	flag.StringVar(&o.Backend.InventoryPrefix, "inventory-attribute-prefix", "sw.", "prefix of the attributes with which a device reports its software: PREFIX followed by group.name, with the version as value; empty: no attribute does")
	log := zap.Options{DestWriter: logging.Visible(os.Stderr)}
	log.BindFlags(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&log)))

	if !o.Controllers && !o.DeviceAPI && !hasConsole {
		return errors.New("nothing to run: give at least one of --controllers, --device-api and --console")
	}
	if err := errors.Join(check(&o), checkMQTT(&o, mqtt), checkConsole(&o.Console, hasConsole)); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	if o.DeviceAPI {
		if o.DeviceAPIListener, err = net.Listen("tcp", deviceAPI); err != nil {
			return fmt.Errorf("listen for devices on %s (--ddi-bind-address): %w", deviceAPI, err)
		}
	}
	if mqtt != "" {
		if o.MQTT.Listener, err = net.Listen("tcp", mqtt); err != nil {
			return fmt.Errorf("listen for MQTT devices on %s (--mqtt-bind-address): %w", mqtt, err)
		}
	}
	if hasConsole {
		if o.Console.Listener, err = net.Listen("tcp", consoleAddress); err != nil {
			return fmt.Errorf("listen for browsers on %s (--console-bind-address): %w", consoleAddress, err)
		}
	}
	return manager.Run(ctrl.SetupSignalHandler(), config, o)
}

// mqttFlags defines the flags about devices that are connected by MQTT. address is that of the
// broker in this process.
func mqttFlags(o *manager.Options, address *string) {
	m := &o.MQTT
	flag.StringVar(address, "mqtt-bind-address", "", "address of the MQTT broker for devices in this process, such as :1883 (default: none; no MQTT)")
	flag.StringVar(&m.CertificateFile, "mqtt-tls-cert-file", "", "file with the certificate of that broker, and its intermediate certificates, in PEM: it then speaks TLS, and accepts client certificates as a DeviceAccess says. It is read again when it changes (default: none, no TLS)")
	flag.StringVar(&m.KeyFile, "mqtt-tls-key-file", "", "file with the private key of that certificate, in PEM (default: none)")
	flag.IntVar(&m.MaxConnections, "mqtt-max-connections", 10_000, "maximum number of open MQTT connections")
	flag.IntVar(&m.MaxAddressConnections, "mqtt-max-connections-per-address", 1000, "maximum number of them from one address, an IPv6 /64 as a whole; addresses of --trusted-proxies are exempt")
	flag.DurationVar(&o.Backend.OfflineAfter, "offline-after", 1*time.Minute, "how long after its last MQTT connection a device counts as offline; a device that connects again before that causes no write")
	flag.StringVar(&m.External.URL, "mqtt-broker-url", "", "URL of an external MQTT broker in place of that in this process: mqtt://host:1883, or mqtts://host:8883 with TLS (default: none)")
	flag.StringVar(&m.External.User, "mqtt-broker-user", "", "user name at the external broker (default: none)")
	flag.StringVar(&m.External.PasswordFile, "mqtt-broker-password-file", "", "file with the password of that user, which is read for each connection (default: none)")
	flag.BoolVar(&m.External.IsShared, "mqtt-broker-shared", false, "share the messages of devices with the other replicas, which have this flag as well")
	flag.StringVar(&m.ExternalCAFile, "mqtt-broker-ca-file", "", "file with the certificates, in PEM, of the CAs of the external broker (default: those of the system)")
	flag.StringVar(&m.External.ClientID, "mqtt-broker-client-id", "", "client id at the external broker; it must be the same after a restart, and another one in each replica (default: goshawk, and with --mqtt-broker-shared also the host name)")
}

// artifactFlags defines the flags about artifacts that the device API sends to devices.
func artifactFlags(o *manager.Options) {
	o.Backend.Delivery = v1alpha1.DeliveryDirect
	flag.Func("artifact-delivery", "how devices get the artifacts of modules without spec.delivery: Direct from the URLs of the module, or Proxy through the device API (default: Direct)", func(text string) error {
		if o.Backend.Delivery = v1alpha1.Delivery(text); o.Backend.Delivery != v1alpha1.DeliveryDirect && o.Backend.Delivery != v1alpha1.DeliveryProxy {
			return errors.New("it must be Direct or Proxy")
		}
		return nil
	})
	o.Artifacts.Sources, _ = artifact.ParseSources("public") // this list has no error
	flag.Func("artifact-sources", "hosts from which the device API may fetch artifacts, separated by commas: public (all public addresses), host names, *.domain, addresses and CIDRs; an empty list allows none (default: public)", func(list string) (err error) {
		o.Artifacts.Sources, err = artifact.ParseSources(list)
		return err
	})
	flag.Func("artifact-plain-http-registries", "OCI registries that speak HTTP without TLS, as host or host:port, separated by commas (default: none)", func(list string) error {
		o.Artifacts.PlainHTTP = strings.Split(list, ",")
		return nil
	})
	flag.StringVar(&o.Artifacts.CacheDir, "artifact-cache-dir", "", "folder of the cache of artifacts, which only this process uses; empty: no cache, and each download causes a request to the source")
	o.Artifacts.CacheBytes = 10 << 30
	flag.Func("artifact-cache-size", "maximum size of that cache in bytes (default: 10Gi)", bytes(&o.Artifacts.CacheBytes))
	flag.IntVar(&o.Artifacts.MaxDownloads, "artifact-max-downloads", 1000, "how many artifacts may be sent to devices at the same time")
	flag.IntVar(&o.Artifacts.MaxFetches, "artifact-max-fetches", 8, "how many artifacts may be fetched into the cache at the same time")
	flag.Func("artifact-max-bytes-per-second", "how many bytes of artifacts are sent to all devices in a second, such as 50M (default: no limit)", bytes(&o.Artifacts.BytesPerSecond))
	flag.DurationVar(&o.LinkLifetime, "artifact-link-lifetime", time.Hour, "how long a link to an artifact at the device API is valid, at least 1m; a download that was started can be resumed for another week while its update is open")
}

// consoleFlags defines the flags about the console, except --console.
func consoleFlags(c *manager.ConsoleOptions, address *string) {
	l := &c.Login
	flag.StringVar(address, "console-bind-address", ":8083", "address of the console")
	flag.StringVar(&c.CertificateFile, "console-tls-cert-file", "", "file with the certificate of the console, and its intermediate certificates, in PEM: the console then serves HTTPS. It is read again when it changes (default: none, HTTP)")
	flag.StringVar(&c.KeyFile, "console-tls-key-file", "", "file with the private key of that certificate, in PEM (default: none)")
	flag.Func("console-base-url", "URL of the console in browsers, such as https://goshawk.example.com; requests for other hosts are refused. The login needs it (default: none)", func(text string) (err error) {
		l.BaseURL, err = url.Parse(text)
		return err
	})
	flag.StringVar(&l.Issuer, "console-oidc-issuer-url", "", "URL of the OpenID Connect provider with which people log in to the console (default: none, all viewers are the user goshawk:anonymous)")
	flag.StringVar(&l.ClientID, "console-oidc-client-id", "", "id of the console at the provider")
	flag.StringVar(&l.ClientSecretFile, "console-oidc-client-secret-file", "", "file with the secret of the console at the provider, which is read for each login (default: none, a public client)")
	flag.StringVar(&l.CAFile, "console-oidc-ca-file", "", "file with the certificates, in PEM, of the CAs of the provider, in addition to those of the system (default: none)")
	l.Scopes = []string{"openid", "profile", "email", "offline_access"}
	flag.Func("console-oidc-scopes", "scopes that are requested from the provider, separated by commas (default: openid,profile,email,offline_access)", func(list string) error {
		l.Scopes = strings.Split(list, ",")
		return nil
	})
	flag.StringVar(&l.Claims.Username, "console-oidc-username-claim", "sub", "claim with the name of the user; with email, the claim email_verified must be true or absent")
	flag.StringVar(&l.Claims.UsernamePrefix, "console-oidc-username-prefix", "", "prefix of the name of the user; - for none (default: the URL of the issuer and #, or none for the claim email)")
	flag.StringVar(&l.Claims.Groups, "console-oidc-groups-claim", "", "claim with the groups of the user (default: none, users have no groups)")
	flag.StringVar(&l.Claims.GroupsPrefix, "console-oidc-groups-prefix", "", "prefix of the name of each group (default: none)")
	flag.Func("console-oidc-groups", "groups that count, with their prefix, separated by commas; the console ignores other groups (default: all)", func(list string) error {
		l.Claims.Only = strings.Split(list, ",")
		return nil
	})
	flag.StringVar(&l.KeyFile, "console-session-key-file", "", "file with keys of at least 32 characters, one in each line: the first one encrypts sessions, and all of them decrypt sessions; it is read again after a change (default: a random key, so that sessions end with the process)")
	flag.DurationVar(&l.Lifetime, "console-session-lifetime", 8*time.Hour, "how long a session of the console lasts, at least 1m")
}

// bytes returns a function that parses a number of bytes with an optional unit.
func bytes(into *int64) func(string) error {
	return func(text string) error {
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Value() < 1 {
			return errors.New("it must be a number of bytes above 0, such as 500M or 10Gi")
		}
		*into = quantity.Value()
		return nil
	}
}

// watchNamespaces returns a function that parses a list of namespaces. An empty list is an error,
// because it would mean all namespaces.
func watchNamespaces(o *manager.Options) func(string) error {
	return func(list string) error {
		o.WatchNamespaces = nil
		for name := range strings.SplitSeq(list, ",") {
			name, err := namespaceName(strings.TrimSpace(name))
			if err != nil {
				return err
			}
			if slices.Contains(o.WatchNamespaces, name) {
				return fmt.Errorf("%s is named twice", name)
			}
			o.WatchNamespaces = append(o.WatchNamespaces, name)
		}
		return nil
	}
}

func namespaceName(name string) (string, error) {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return "", fmt.Errorf("%q is not the name of a namespace: %s", name, problems[0])
	}
	return name, nil
}

// namespacedName parses NAMESPACE/NAME.
func namespacedName(text string) (types.NamespacedName, error) {
	namespace, name, found := strings.Cut(text, "/")
	if !found {
		return types.NamespacedName{}, fmt.Errorf("%q is not NAMESPACE/NAME", text)
	}
	if _, err := namespaceName(namespace); err != nil {
		return types.NamespacedName{}, err
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return types.NamespacedName{}, fmt.Errorf("%q is not the name of a Secret: %s", name, problems[0])
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}

func check(o *manager.Options) error {
	defaultNamespace := o.DeviceAPIOptions.DefaultNamespace
	switch {
	case o.NotificationsSecret.Name != "" && !o.Controllers:
		return errors.New("--notifications-secret is for the controllers: set --controllers, or remove it")
	case o.WritesInFlight < 1:
		return errors.New("--writes-in-flight must be at least 1")
	case o.DeviceAPIOptions.MaxConnections < 1 || o.DeviceAPIOptions.MaxAddressConnections < 1:
		return errors.New("--device-api-max-connections and --device-api-max-connections-per-address must be at least 1")
	case defaultNamespace != "" && len(o.WatchNamespaces) > 0 && !slices.Contains(o.WatchNamespaces, defaultNamespace):
		return fmt.Errorf("--default-namespace=%[1]s is not one of --watch-namespaces, so the devices of the tenant DEFAULT would not be served: add %[1]s to --watch-namespaces", defaultNamespace)
	case (o.CertificateFile == "") != (o.KeyFile == ""):
		return errors.New("give --ddi-tls-cert-file and --ddi-tls-key-file together")
	case o.Artifacts.MaxDownloads < 1 || o.Artifacts.MaxFetches < 1:
		return errors.New("--artifact-max-downloads and --artifact-max-fetches must be at least 1")
	case o.LinkLifetime < time.Minute:
		return errors.New("--artifact-link-lifetime must be at least 1m")
	case o.Backend.PollInterval < kube.MinPollInterval || o.Backend.PollInterval > kube.MaxPollInterval:
		return fmt.Errorf("--ddi-poll-interval must be %s to %s", kube.MinPollInterval, kube.MaxPollInterval)
	case o.Backend.ProgressInterval <= 0:
		return errors.New("--ddi-progress-interval must be more than 0")
	case (o.Backend.InstalledName == "") != (o.Backend.InstalledVersion == ""):
		return errors.New("give --device-api-installed-name-attribute and --device-api-installed-version-attribute together")
	}
	return nil
}

// checkMQTT checks the flags about MQTT. address is --mqtt-bind-address.
func checkMQTT(o *manager.Options, address string) error {
	m := &o.MQTT
	switch {
	case (address != "" || m.External.URL != "") && !o.DeviceAPI:
		return errors.New("--mqtt-bind-address and --mqtt-broker-url are for the device API: set --device-api, or remove them")
	case address != "" && m.External.URL != "":
		return errors.New("give --mqtt-bind-address or --mqtt-broker-url, not both: devices connect to one of the two brokers")
	case address == "" && (m.CertificateFile != "" || m.KeyFile != ""):
		return errors.New("--mqtt-tls-cert-file and --mqtt-tls-key-file need --mqtt-bind-address, such as :8883")
	case (m.CertificateFile == "") != (m.KeyFile == ""):
		return errors.New("give --mqtt-tls-cert-file and --mqtt-tls-key-file together")
	case m.MaxConnections < 1 || m.MaxAddressConnections < 1:
		return errors.New("--mqtt-max-connections and --mqtt-max-connections-per-address must be at least 1")
	case o.Backend.OfflineAfter < time.Second:
		return errors.New("--offline-after must be at least 1s")
	case m.External.URL == "" && (m.External.User != "" || m.External.PasswordFile != "" || m.External.IsShared || m.External.ClientID != "" || m.ExternalCAFile != ""):
		return errors.New("the other flags --mqtt-broker-* need --mqtt-broker-url, such as mqtts://broker.example:8883")
	case m.External.PasswordFile != "" && m.External.User == "":
		return errors.New("--mqtt-broker-password-file needs --mqtt-broker-user")
	case m.External.URL != "" && o.Backend.Replicated && !m.External.IsShared:
		return errors.New("with --device-api-replicated, several replicas read from the MQTT broker: give --mqtt-broker-shared as well, or else each report is processed by all of them")
	case (address != "" || m.External.URL != "") && o.Backend.Delivery == v1alpha1.DeliveryProxy && o.DeviceAPIOptions.BaseURL == "":
		return errors.New("--artifact-delivery=Proxy needs --ddi-base-url for devices with MQTT: their links to artifacts start with it")
	}
	return nil
}

// checkConsole checks the flags about the console. internal/console/login checks those of the
// login.
func checkConsole(c *manager.ConsoleOptions, hasConsole bool) error {
	switch l := &c.Login; {
	case !hasConsole && (c.CertificateFile != "" || l.BaseURL != nil || l.Issuer != "" || l.KeyFile != ""):
		return errors.New("the flags --console-* need --console")
	case (c.CertificateFile == "") != (c.KeyFile == ""):
		return errors.New("give --console-tls-cert-file and --console-tls-key-file together")
	case l.Issuer == "" && (l.ClientID != "" || l.ClientSecretFile != "" || l.CAFile != "" || l.Claims.Groups != "" || l.KeyFile != ""):
		return errors.New("the flags --console-oidc-* and --console-session-key-file need --console-oidc-issuer-url, such as https://dex.example.com")
	}
	return nil
}
