# stampd from its sources. `packaging/packages.sh formula` puts the archive that it names, and its
# digest, in the place of the two words in capitals; docs/install.md says what to do with it then.
class Stampd < Formula
  desc "Gives every file change a durable, provable stamp"
  url "@URL@"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    system bin/"stampd", "man", man1
    generate_completions_from_executable(bin/"stampd", "completions")
    pkgshare.install "config", "contracts", "docs"
    pkgshare.install "packaging/prometheus", "packaging/grafana"
  end

  def caveats
    <<~EOS
      `stampd setup ~/src/app` writes a config, and starts a service of its own.
      `brew services start stampd` starts one instead, with the config that is there: use one of them.
    EOS
  end

  # As packaging/launchd has it.
  service do
    run [opt_bin/"stampd", "run"]
    run_at_load true
    keep_alive successful_exit: false
    throttle_interval 30
    process_type :background
    nice 10
    error_log_path var/"log/stampd.log"
  end

  test do
    assert_equal "stampd #{version}", shell_output("#{bin}/stampd version").strip
    (testpath/"a.txt").write "Hello"
    digest = "fbc2b0516ee8744d293b980779178a3508850fdcfe965985782c39601b65794f"
    assert_equal "#{digest}  a.txt", shell_output("#{bin}/stampd hash a.txt").strip
    (testpath/"stampd.toml").write "[agent]\nstate_dir = \"#{testpath}/state\"\n"
    system bin/"stampd", "--config", testpath/"stampd.toml", "config", "check"
  end
end
